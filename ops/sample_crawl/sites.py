"""Sites around the documentation: each host with a layout of its own, with all that is on a page beside its content."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

TITLES = {
    "numpy": "NumPy",
    "scipy": "SciPy",
    "sympy": "SymPy",
    "mpmath": "mpmath",
    "statsmodels": "statsmodels",
    "stdlib": "The Python Library",
}
MATHJAX3 = '<script defer src="https://cdn.mathjax.example/npm/mathjax@3/es5/tex-mml-chtml.js"></script>'
BACKSLASHES = r"""<script>
window.MathJax = {tex: {inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]]}};
</script>"""
DOLLARS = """<script>
window.MathJax = {tex: {inlineMath: [["$", "$"]], displayMath: [["$$", "$$"]]}};
</script>"""
MATHJAX2 = """<script type="text/x-mathjax-config">
MathJax.Hub.Config({jax: ["input/TeX", "output/HTML-CSS"]});
</script>
<script async src="https://cdn.mathjax.example/mathjax/2.7.7/MathJax.js?config=TeX-AMS_CHTML"></script>"""
HEADS = {
    "mathjax_delimiters": f"{BACKSLASHES}\n{MATHJAX3}",
    "mathjax_script": MATHJAX2,
    "mathml": '<link rel="stylesheet" href="/_static/mathml.css" type="text/css">',
    "mathml_annotation": '<link rel="stylesheet" href="/_static/mathml.css" type="text/css">',
    "image_alt": '<link rel="stylesheet" href="/_static/imgmath.css" type="text/css">',
    "katex": '<link rel="stylesheet" href="https://cdn.katex.example/npm/katex@0.16.11/dist/katex.min.css">',
}
"""What a page's head holds for its carrier."""

LAYOUTS = ("book", "classic", "cards")
FORUM = "forum"


@dataclass(frozen=True, kw_only=True)
class Site:
    """One host."""

    name: str
    host: str
    title: str
    version: str
    layout: str  # one of LAYOUTS, or FORUM
    sections: tuple[str, ...]  # modules, for the navigation

    def url(self, path: str) -> str:
        return f"https://{self.host}/{path}"


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a page shows, before a site wraps it."""

    title: str
    section: str  # module
    body: str  # HTML
    carrier: str | None = None
    neighbours: tuple[str, ...] = ()
    language: str = "en"
    charset: str = "utf-8"


def page_path(module: str, name: str) -> str:
    """Path of a documentation page on its site."""
    return f"en/stable/reference/{module}/{name}.html"


def wrap(site: Site, content: Content, url: str) -> str:
    """The whole page as HTML text."""
    layouts = {"book": _book, "classic": _classic, "cards": _cards, FORUM: _forum}
    heads = f"{DOLLARS}\n{MATHJAX3}" if site.layout == FORUM else HEADS.get(content.carrier or "", "")
    title = html.escape(content.title, quote=False)
    return f"""<!DOCTYPE html>
<html lang="{content.language}">
<head>
<meta charset="{content.charset}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} — {site.title} {site.version} documentation</title>
<link rel="canonical" href="{html.escape(url)}">
<link rel="stylesheet" href="/_static/{site.layout}.css" type="text/css">
<style>.sidebar {{ float: left; width: 16rem }} .consent {{ position: fixed; bottom: 0 }}</style>
<script>window.analytics = window.analytics || []; analytics.push(["page", "{site.name}"]);</script>
{heads}
</head>
{layouts[site.layout](site, content, title)}
</html>
"""


def _links(site: Site, content: Content, names: Sequence[str]) -> str:
    return "\n".join(
        f'<li><a href="/{page_path(content.section, name)}">{html.escape(name, quote=False)}</a></li>' for name in names
    )


def _sections(site: Site) -> str:
    return "\n".join(
        f'<li class="toctree-l1"><a href="/en/stable/reference/{name}/index.html">{name}</a></li>'
        for name in site.sections
    )


def _book(site: Site, content: Content, title: str) -> str:
    return f"""<body data-theme="auto">
<a class="skip-link" href="#main-content">Skip to main content</a>
<div class="announcement">{site.title} {site.version} is out! See the <a href="/news.html">release notes</a>.</div>
<header class="navbar"><a class="navbar-brand" href="/">{site.title}</a>
<nav><ul class="navbar-nav"><li><a href="/install.html">Installing</a></li><li><a href="/guide/">User Guide</a></li>
<li><a href="/reference/">API reference</a></li><li><a href="/dev/">Development</a></li></ul></nav>
<form action="/search.html" role="search"><input type="search" name="q" placeholder="Search the docs ..."></form>
</header>
<div class="container"><div class="sidebar"><p class="caption">Section Navigation</p><nav><ul>
{_sections(site)}
</ul></nav></div>
<main id="main-content"><nav aria-label="Breadcrumb"><ul class="breadcrumbs"><li><a href="/">Home</a></li>
<li><a href="/reference/">API reference</a></li><li class="active">{content.section}</li></ul></nav>
<article class="bd-article"><section id="content">
<h1>{title}<a class="headerlink" href="#content" title="Link to this heading">#</a></h1>
{content.body}
</section></article>
<div class="prev-next"><p>previous</p><p>next</p></div></main>
<aside class="toc"><p>On this page</p><ul>
{_links(site, content, content.neighbours)}
</ul><a href="/edit">Edit on GitHub</a> <a href="/_sources/index.rst.txt">Show Source</a></aside></div>
<footer class="footer"><p>© Copyright 2008-2026, {site.title} Developers.</p>
<p>Created using Sphinx. Built with a theme of the community.</p></footer>
<div class="consent" role="dialog"><p>We use cookies to understand how this documentation is read.</p>
<button>Accept all</button><button>Only necessary</button></div>
</body>"""


def _classic(site: Site, content: Content, title: str) -> str:
    return f"""<body>
<div class="related" role="navigation"><h3>Navigation</h3><ul><li><a href="/genindex.html">index</a></li>
<li><a href="/py-modindex.html">modules</a> |</li><li><a href="/">{site.title} {site.version} documentation</a> »</li>
<li>{content.section} »</li></ul></div>
<div class="document"><div class="documentwrapper"><div class="bodywrapper"><div class="body" role="main">
<h1>{title}<a class="headerlink" href="#" title="Permalink to this heading">¶</a></h1>
{content.body}
<div class="clearer"></div></div></div></div>
<div class="sphinxsidebar" role="navigation"><div class="sphinxsidebarwrapper">
<h3><a href="/">Table of Contents</a></h3><ul>
{_sections(site)}
</ul><h3>Related Topics</h3><ul>
{_links(site, content, content.neighbours)}
</ul><div role="note"><h3>This Page</h3>
<ul class="this-page-menu"><li><a href="/_sources/x.rst.txt">Show Source</a></li>
</ul></div><div id="searchbox" role="search"><h3>Quick search</h3><form class="search" action="/search.html">
<input type="text" name="q"><input type="submit" value="Go"></form></div></div></div></div>
<div class="footer" role="contentinfo">© Copyright 2009-2026, {site.title} authors. Last updated on Jan 12, 2026.
Created using <a href="https://sphinx.example/">Sphinx</a>.</div>
</body>"""


def _cards(site: Site, content: Content, title: str) -> str:
    return f"""<body class="md">
<div id="cookie-banner"><h4>Cookie consent</h4><p>We use cookies to recognize your repeated visits and preferences, and
to measure the effectiveness of our documentation. <a href="/privacy">Manage settings</a></p>
<button>Accept</button></div>
<header class="md-header"><nav><a href="/" title="{site.title}">{site.title} mirror</a>
<span class="md-topic">{title}</span><label>Search<input type="text"></label></nav></header>
<nav class="md-tabs"><ul><li><a href="/">Home</a></li><li><a href="/blog">Blog</a></li>
<li><a href="/about">About</a></li><li><a href="/login">Sign in</a></li></ul></nav>
<div class="md-main"><div class="md-content"><article class="md-content__inner">
<a class="md-edit" href="/edit" title="Edit this page">✎</a>
<h1 id="top">{title}</h1>
{content.body}
<aside class="md-source-file"><small>Last update: January 12, 2026</small></aside>
<div class="share">Share this: <a href="#">Mail</a> <a href="#">Print</a></div></article></div>
<div class="md-sidebar"><h2>More from {content.section}</h2><ul>
{_links(site, content, content.neighbours)}
</ul><h2>Popular now</h2><ul>
{_sections(site)}
</ul><p class="ad">Advertisement. Learn statistics in 30 days with our newsletter.</p></div></div>
<footer class="md-footer"><div>© 2026 Docs Mirror Collective · Imprint · Privacy · Terms of service</div></footer>
</body>"""


def _forum(site: Site, content: Content, title: str) -> str:
    return f"""<body class="forum">
<div class="topbar"><a href="/">{site.title}</a> <a href="/questions">Questions</a> <a href="/tags">Tags</a>
<a href="/users/login">Log in</a> <a href="/users/signup">Sign up</a></div>
<div class="notice">Join the community: it only takes a minute to sign up.</div>
<div class="question-page"><h1><a href="#">{title}</a></h1>
<div class="meta">Asked 3 years ago · Modified 1 month ago · Viewed 2k times</div>
<div class="post-text">
{content.body}
</div>
<div class="post-menu"><a href="#">Share</a> <a href="#">Follow</a> <span>answered by a guest</span></div></div>
<div class="right-column"><h4>Related</h4><ul>
{_links(site, content, content.neighbours)}
</ul><h4>Hot Network Questions</h4><ul><li><a href="/q/1">How do I fold a fitted sheet?</a></li>
<li><a href="/q/2">Why is my bread so dense?</a></li></ul></div>
<div class="site-footer">{site.title} · Help · Contact · Cookie settings ·
user contributions under their authors' terms</div>
</body>"""
