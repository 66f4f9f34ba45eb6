"""MathML and AsciiMath."""

from tests.ops.carriers.formula import ANNOTATED, ASCII, ASCIIMATH, MML, PREFIXED, Carrier, E, F

MATHML: dict[str, Carrier] = {
    # MathML
    "mathml with annotation": ("", f"<math>{ANNOTATED}</math>", f'<math display="block">{ANNOTATED}</math>'),
    "mathml": ("", f"<math>{MML}</math>", f'<math display="block">{MML}</math>'),
    "mathml, prefixed": (
        "",
        f'<mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML">{PREFIXED}</mml:math>',
        f'<mml:math display="block">{PREFIXED}</mml:math>',
    ),
    "content mathml": (
        "",
        "<math><apply><eq/><apply><selector/><ci>α</ci><cn>17</cn></apply><apply><divide/><ci>b</ci><cn>2</cn>"
        "</apply></apply></math>",
        None,
    ),
    "latexml": (
        "",
        f'<math id="m1" class="ltx_Math" alttext="{E}" display="inline"><semantics><mrow>{MML}</mrow>'
        f'</semantics></math>',
        f'<table class="ltx_equation ltx_eqn_table"><tbody><tr class="ltx_equation ltx_eqn_row"><td '
        f'class="ltx_eqn_cell '
        f'ltx_eqn_center_padleft"></td><td class="ltx_eqn_cell ltx_align_center"><math class="ltx_Math" alttext="{E}" '
        f'display="block">{MML}</math></td><td class="ltx_eqn_cell ltx_eqn_center_padright"></td></tr></tbody></table>',
    ),
    "temml": (
        "",
        f'<span class="hurmet-tex" data-entry="{E}"><math>{MML}</math></span>',
        f'<p class="hurmet-tex" data-entry="{E}"><math display="block" class="tml-display">{MML}</math></p>',
    ),
    "jats tex-math": (
        "",
        f'<inline-formula><tex-math notation="LaTeX">{F}</tex-math></inline-formula>',
        r'<tex-math id="M1">\documentclass[12pt]{minimal} \usepackage{amsmath} \begin{document}$$'
        + F
        + r"$$\end{document}</tex-math>",
    ),
    "wikipedia": (
        "",
        f'<span class="mwe-math-element"><span class="mwe-math-mathml-inline mwe-math-mathml-a11y" '
        f'style="display: none;">'
        f'<math alttext="{{\\displaystyle {E}}}">{ANNOTATED}</math></span><img '
        f'src="https://wikimedia.org/api/rest_v1/x" '
        f'class="mwe-math-fallback-image-inline" aria-hidden="true" alt="{{\\displaystyle {E}}}"></span>',
        f'<dl><dd><span class="mwe-math-element"><span class="mwe-math-mathml-display" style="display: none;">'
        f'<math display="block" alttext="{{\\displaystyle {E}}}">{ANNOTATED}</math></span><img '
        f'src="https://wikimedia.org/x" '
        f'class="mwe-math-fallback-image-display" aria-hidden="true" alt="{{\\displaystyle {E}}}"></span></dd></dl>',
    ),
    "wikipedia, image alone": (
        "",
        f'<img src="//upload.wikimedia.org/math/0.png" class="mwe-math-fallback-image-inline tex" '
        f'alt="{{\\displaystyle {E}}}">',
        f'<p><img src="//upload.wikimedia.org/math/0.png" class="mwe-math-fallback-image-display" alt="{E}"></p>',
    ),
    "mediawiki source": ("", f'<span class="mwe-math-fallback-source-inline tex" dir="ltr">$ {F} $</span>', None),
    "mathml with fallback image": (
        "",
        f'<span class="inline-equation"><math>{ANNOTATED}</math><img class="math" src="e1.png" alt="{E}"></span>',
        None,
    ),
    # AsciiMath
    "asciimath script": (ASCIIMATH, f'<script type="math/asciimath">{ASCII}</script>',
                         f'<script type="math/asciimath; mode=display">{ASCII}</script>'),
    "asciimath backticks": (ASCIIMATH, f"`{ASCII}`", None),
    "asciimath, asciimathml.js": ('<script src="ASCIIMathML.js"></script>', f"`{ASCII}`", None),
    "asciimath, asciidoctor": (
        "<script>MathJax.Hub.Config({tex2jax: {inlineMath: [['\\\\(', '\\\\)']], displayMath: [['\\\\[', '\\\\]']]},"
        " asciimath2jax: {delimiters: [['\\\\$', '\\\\$']], ignoreClass: 'nostem'}});</script>",
        f"\\${ASCII}\\$",
        f'<div class="stemblock"><div class="content">\\[{F}\\]</div></div>',
    ),
    "asciimath element": ("", f'<span class="asciimath">`{ASCII}`</span>', None),
    "mathworld": (
        "",
        f'<img src="/images/equations/X/Inline1.svg" class="inlineformula" alt="{ASCII}" width="9">',
        f'<div><img src="/images/equations/X/NumberedEquation1.svg" class="numberedequation" alt="{ASCII}"></div>',
    ),
}  # fmt: skip
