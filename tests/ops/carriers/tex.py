"""TeX in the text, and KaTeX."""

from tests.ops.carriers.formula import ANNOTATED, KATEX, KATEX_BOXES, MATHJAX2, Carrier, E, F

TEX: dict[str, Carrier] = {
    # TeX in the text
    "parentheses and brackets": (MATHJAX2, rf"\({F}\)", rf"<p>\[{F}\]</p>"),
    "dollars, configured in mathjax 2": (
        "<script type='text/x-mathjax-config'>MathJax.Hub.Config({tex2jax: {inlineMath: [['$','$'], ['\\\\(','\\\\)']],"
        " displayMath: [ ['$$','$$'], ['\\\\[','\\\\]'] ], processEscapes: true}});</script>",
        f"${F}$",
        f"<p>$${F}$$</p>",
    ),
    "dollars, configured in mathjax 3": (
        "<script>window.MathJax = {tex: {inlineMath: {'[+]': [['$', '$']]}}};</script>",
        f"${F}$",
        f"<p>$$<br>{F}<br>$$</p>",
    ),
    "dollars, katex auto-render": (
        '<script>renderMathInElement(document.body, {delimiters: [{left: "$$", right: "$$", display: true},'
        '{left: "$", right: "$", display: false}]});</script>',
        f"${F}$",
        f"<p>$${F}$$</p>",
    ),
    "dollars, nothing configured": ("", f"${F}$", f"<p>$${F}$$</p>"),
    "bare environment": (MATHJAX2, None, rf"<p>\begin{{equation}}{F}\end{{equation}}</p>"),
    "environment between delimiters": (MATHJAX2, None, rf"<p>$$\begin{{align}}{E}\end{{align}}$$</p>"),
    "[itex] and [tex]": ("", f"[itex]{F}[/itex]", f"<p>[tex]{F}[/tex]</p>"),
    "[latex]": ("", f"[latex]{F}[/latex]", None),
    "[math]": ("", f"[math]{F}[/math]", f"<p>[dmath]{F}[/dmath]</p>"),
    "escaped <math>": ("", f"&lt;math&gt;{F}&lt;/math&gt;", None),
    "wordpress source": ("", f"$latex {F}$", f"<p>$$latex {F}&amp;s=2$$</p>"),
    "physics forums hashes": (
        "<script>MathJax.Hub.Config({tex2jax: {inlineMath: [['##','##'], ['[itex]','[/itex]']], displayMath: "
        "[['$$','$$'],"
        " ['[tex]','[/tex]']]}});</script>",
        f"##{F}##",
        f"<div>[tex]{F}[/tex]</div>",
    ),
    # KaTeX
    "katex": ("", KATEX, f'<span class="katex-display">{KATEX}</span>'),
    "katex boxes": (
        "",
        f'<span class="katex">{KATEX_BOXES}</span>',
        f'<span class="katex-display"><span class="katex">{KATEX_BOXES}</span></span>',
    ),
    "katex mathml": ("", f'<span class="katex"><math>{ANNOTATED}</math></span>',
                     f'<span class="katex-display"><span class="katex"><math display="block">{ANNOTATED}</math>'
                     f'</span></span>'),
    "katex error": ("", f'<span class="katex-error" title="ParseError: KaTeX parse error" '
                        f'style="color:#cc0000">{F}</span>', None),
    "katex, mathml without its tags": (
        "",
        '<span class="katex--inline"><span class="katex"><span class="katex-mathml">\n  \n    α\n  17\n  =\n b\n 2\n'
        f"  \n\n  {E}\n \n</span>{KATEX_BOXES}</span></span>",
        '<span class="katex--display"><span class="katex-display"><span class="katex">'
        '<span class="katex-mathml">\n α\n\n'
        f"  {E}\n</span>{KATEX_BOXES}</span></span></span>",
    ),
    "remark-math with katex": (
        "",
        f'<span class="math math-inline">{KATEX}</span>',
        f'<div class="math math-display"><span class="katex-display">{KATEX}</span></div>',
    ),
    "wp-katex": (
        "",
        f'<span class="wp-katex-eq" data-display="false">{F}</span>',
        f'<span class="wp-katex-eq katex-display" data-display="true">{F}</span>',
    ),
}  # fmt: skip
