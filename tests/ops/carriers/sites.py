"""Formulas in the markup of sites and of generators."""

import json
from html import escape

from tests.ops.carriers.formula import (
    BOXES,
    KATEX,
    KATEX_BOXES,
    MATHJAX2,
    Carrier,
    E,
    F,
    Q,
)

SITES: dict[str, Carrier] = {
    "stackexchange": (
        "",
        f'<span class="math-container">${F}$</span>',
        f'<p><span class="math-container">$${F}$$</span></p>',
    ),
    "pandoc": (
        "",
        rf'<span class="math inline">\({F}\)</span>',
        rf'<p><span class="math display">\[{F}\]</span></p>',
    ),
    "pandoc without mathjax": ("", '<span class="math inline"><em>α</em><sub>17</sub> = <em>b</em><sup>2</sup>'
                                   '</span>', None),
    "github": (
        "",
        f'<math-renderer class="js-inline-math" style="display: inline-block" data-run-id="0a">${F}$</math-renderer>',
        f'<math-renderer class="js-display-math" style="display: block">$${F}$$</math-renderer>',
    ),
    "gitlab": (
        "",
        f'<code data-math-style="inline" class="code math js-render-math">{F}</code>',
        f'<pre class="code math js-render-math" data-math-style="display"><code>{F}</code></pre>',
    ),
    "rehype": (
        "",
        f'<code class="language-math math-inline">{F}</code>',
        f'<pre><code class="language-math math-display">{F}</code></pre>',
    ),
    "discourse": ("", f'<span class="math">{F}</span>', f'<div class="math">\n{F}\n</div>'),
    "discourse, rendered": (
        "",
        f'<span class="math" style="display: none;">{F}</span><span class="math-container inline-math mathjax-math">'
        f'<mjx-container class="MathJax" jax="CHTML"><mjx-math>{BOXES}</mjx-math></mjx-container></span>',
        None,
    ),
    "zhihu": ("", f'<span class="ztext-math" data-eeimg="1" data-tex="{E}">α17</span>', None),
    "zhihu image": ("", f'<img src="https://www.zhihu.com/equation?tex={Q}" alt="{E}" eeimg="1">', None),
    "data-expr": ("", f'<span class="tex" data-expr="{E}">α17</span>', f'<div class="tex" data-expr="{E}">α17</div>'),
    "gemini": (
        "",
        f'<span class="math-inline" data-math="{E}"><span class="katex">{KATEX_BOXES}</span></span>',
        f'<div class="math-block" data-math="{E}"><span class="katex-display"><span '
        f'class="katex">{KATEX_BOXES}</span></span></div>',
    ),
    "quill": ("", f'<span class="ql-formula" data-value="{E}"><span>{KATEX}</span></span>', None),
    "substack": (
        "",
        None,
        f"""<div class="latex-rendered" data-attrs="{escape(json.dumps({"persistentExpression": F, "id": "ABC"}))}" """
        'data-component-name="LatexBlockToDOM"></div>',
    ),
    "notion": (
        "",
        f'<span data-token-index="0" contenteditable="false" class="notion-text-equation-token"><span></span>'
        f'<span>{KATEX}</span></span>',
        f'<div data-block-id="1" class="notion-equation-block"><span class="katex-display">{KATEX}</span></div>',
    ),
    "confluence": (
        "",
        f'<span class="conf-macro output-inline" data-hasbody="false" data-macro-name="mathinline" '
        f'data-macro-parameters="body=--uriencoded--{Q}"></span>',
        f'<div class="conf-macro output-block" data-macro-name="mathblock" '
        f'data-macro-parameters="body=--uriencoded--{Q}"></div>',
    ),
    "mkdocs": (
        MATHJAX2,
        rf'<span class="arithmatex">\({F}\)</span>',
        f'<div class="arithmatex">\\[\n{F}\n\\]</div>',
    ),
    "mkdocs with scripts": (
        MATHJAX2,
        f'<span class="arithmatex"><span class="MathJax_Preview">{F}</span><script type="math/tex">{F}</script></span>',
        f'<div class="arithmatex"><div class="MathJax_Preview">{F}</div><script type="math/tex; '
        f'mode=display">{F}</script></div>',
    ),
    "jupyter book": (
        MATHJAX2,
        rf'<span class="math notranslate nohighlight">\({F}\)</span>',
        f'<div class="math notranslate nohighlight" id="equation-e1">\n\\[{F}\\]</div>',
    ),
    "jupyter book, amsmath": (
        MATHJAX2,
        None,
        f'<div class="amsmath math notranslate nohighlight">\n\\[\\begin{{align}}{E}\\end{{align}}\\]</div>',
    ),
    "nbconvert": (
        "<script type=\"text/x-mathjax-config\">MathJax.Hub.Config({tex2jax: {inlineMath: [ ['$','$'], "
        "[\"\\\\(\",\"\\\\)\"] ],"
        " processEscapes: true, processEnvironments: true}});</script>",
        f"${F}$",
        f'<div class="jp-RenderedHTMLCommon jp-RenderedMarkdown" data-mime-type="text/markdown"><p>$${F}$$</p></div>',
    ),
    "nbconvert output": (
        "<script>MathJax.Hub.Config({tex2jax: {inlineMath: [['$','$']]}});</script>",
        None,
        rf'<div class="jp-RenderedLatex" data-mime-type="text/latex">$\displaystyle {F}$</div>',
    ),
    "pretext": (
        r"<script>window.MathJax = {tex: {inlineMath: [['\\(','\\)']]}, options: {ignoreHtmlClass: "
        r"'tex2jax_ignore|ignore-math',"
        " processHtmlClass: 'process-math'}};</script>",
        rf'<span class="process-math">\({F}\)</span>',
        rf'<div class="displaymath process-math">\begin{{equation*}}{F}\end{{equation*}}</div>',
    ),
    "gapdoc": (MATHJAX2, rf'<span class="SimpleMath">\({F}\)</span>', rf'<p class="pcenter">\[{F}\]</p>'),
    "gapdoc without mathjax": ("", f'<span class="Math">{F}</span>', None),
    "moodle filter": ("", rf'<span class="filter_mathjaxloader_equation"><span class="nolink">\({F}\)</span></span>',
                      rf'<p><span class="filter_mathjaxloader_equation"><span class="nolink">\[{F}\]</span>'
                      rf'</span></p>'),
    "springer": (
        "",
        rf'<span class="mathjax-tex">\({F}\)</span>',
        f'<div class="c-article-equation"><div class="c-article-equation__content"><span '
        f'class="mathjax-tex">$${F}$$</span></div></div>',
    ),
    "wikidot": ("", f'<span class="math-inline">${F}$</span>', f'<div class="math-equation" id="equation-1">{F}</div>'),
    "formula element": ("", None, f'<formula id="mathJaxEqu" class="mathJaxEqu">{F}</formula>'),
    "mathquill": (
        "",
        f'<span class="mq-math-mode"><span class="mq-selectable">${F}$</span><span class="mq-root-block">'
        f'<var>α</var></span></span>',
        None,
    ),
    "obsidian publish": (
        "",
        f'<span class="math math-inline is-loaded"><mjx-container class="MathJax" jax="CHTML">'
        f'<mjx-math>{BOXES}</mjx-math></mjx-container></span>',
        f'<div class="math math-block is-loaded"><mjx-container class="MathJax" jax="CHTML" display="true">'
        f'<mjx-math>{BOXES}</mjx-math></mjx-container></div>',
    ),
    "role=math": (
        "",
        f'<span role="math" aria-label="{E}"><svg viewBox="0 0 9 9"><path d="M0"/></svg></span>',
        f'<div role="math" aria-label="\\[{E}\\]"><svg viewBox="0 0 9 9"><path d="M0"/></svg></div>',
    ),
    "svg with label": ("", f'<svg role="math" aria-label="{E}" viewBox="0 0 9 9"><path d="M0"/></svg>', None),
}  # fmt: skip
