"""Every carrier of mathematics, written as its generator writes it: one formula inline and one displayed.

A carrier is right when both formulas come out as LaTeX once, delimited, unescaped, in the right mode, with nothing left
of previews, fallback images and assistive copies. The markup is our own.
"""

import json
from html import escape
from urllib.parse import quote, quote_plus

import pytest

from ops.extract import extract_page
from tests.ops.mathbench import loose

F = r"\alpha_{17}=\frac{b}{2}"
E = escape(F)
Q = quote(F)
ASCII = "alpha_17=b/2"
MML = "<msub><mi>α</mi><mn>17</mn></msub><mo>=</mo><mfrac><mi>b</mi><mn>2</mn></mfrac>"
PREFIXED = MML.replace("<m", "<mml:m").replace("</m", "</mml:m")
ANNOTATED = f'<semantics><mrow>{MML}</mrow><annotation encoding="application/x-tex">{E}</annotation></semantics>'
MATHJAX2 = '<script src="https://cdn.mathjax.org/mathjax/latest/MathJax.js?config=TeX-AMS-MML_HTMLorMML"></script>'
ASCIIMATH = '<script src="https://cdn.mathjax.org/mathjax/latest/MathJax.js?config=AM_HTMLorMML"></script>'

BOXES = (
    '<mjx-msub><mjx-mi class="mjx-i"><mjx-c class="mjx-c1D6FC TEX-I"></mjx-c></mjx-mi><mjx-script '
    'style="vertical-align:'
    ' -0.15em;"><mjx-texatom size="s" texclass="ORD"><mjx-mn class="mjx-n"><mjx-c class="mjx-c31"></mjx-c>'
    '<mjx-c class="mjx-c37"></mjx-c></mjx-mn></mjx-texatom></mjx-script></mjx-msub><mjx-mo class="mjx-n" space="4">'
    '<mjx-c class="mjx-c3D"></mjx-c></mjx-mo><mjx-mfrac space="4"><mjx-frac type="d"><mjx-num><mjx-nstrut type="d">'
    '</mjx-nstrut><mjx-mi class="mjx-i"><mjx-c class="mjx-c1D44F TEX-I"></mjx-c></mjx-mi></mjx-num><mjx-dbox>'
    '<mjx-dtable><mjx-line type="d"></mjx-line><mjx-row><mjx-den><mjx-dstrut type="d"></mjx-dstrut><mjx-mn '
    'class="mjx-n">'
    '<mjx-c class="mjx-c32"></mjx-c></mjx-mn></mjx-den></mjx-row></mjx-dtable></mjx-dbox></mjx-frac></mjx-mfrac>'
)
GROUPS = (
    '<g data-mml-node="msub"><g data-mml-node="mi"><use data-c="1D6FC" xlink:href="#MJX-1-TEX-I-1D6FC"></use></g>'
    '<g data-mml-node="TeXAtom" transform="translate(673,-150) scale(0.707)" data-mjx-texclass="ORD">'
    '<g data-mml-node="mn"><use data-c="31" xlink:href="#MJX-1-TEX-N-31"></use>'
    '<use data-c="37" xlink:href="#MJX-1-TEX-N-37" transform="translate(500,0)"></use></g></g></g>'
    '<g data-mml-node="mo" transform="translate(1707.9,0)"><path data-c="3D" d="M56 347Z"></path></g>'
    '<g data-mml-node="mfrac" transform="translate(2763.7,0)">'
    '<g data-mml-node="mi" transform="translate(245,394) scale(0.707)"><path data-c="1D44F"></path></g>'
    '<g data-mml-node="mn" transform="translate(220,-345) scale(0.707)"><path data-c="32"></path></g>'
    '<rect width="553.6" height="60" x="120" y="220"></rect></g>'
)
CHTML2 = (
    '<span class="mjx-math"{}><span class="mjx-mrow" aria-hidden="true"><span class="mjx-msubsup"><span '
    'class="mjx-base">'
    '<span class="mjx-mi"><span class="mjx-char MJXc-TeX-math-I">α</span></span></span><span class="mjx-sub" '
    'style="font-size: 70.7%"><span class="mjx-texatom"><span class="mjx-mrow"><span class="mjx-mn">'
    '<span class="mjx-char MJXc-TeX-main-R">17</span></span></span></span></span></span><span class="mjx-mo '
    'MJXc-space3">'
    '<span class="mjx-char MJXc-TeX-main-R">=</span></span><span class="mjx-mfrac MJXc-space3">'
    '<span class="mjx-box MJXc-stacked"><span class="mjx-numerator"><span class="mjx-mi">'
    '<span class="mjx-char MJXc-TeX-math-I">b</span></span></span><span class="mjx-denominator"><span class="mjx-mn">'
    '<span class="mjx-char MJXc-TeX-main-R">2</span></span></span><span class="mjx-line"></span></span>'
    '<span class="mjx-vsize"></span></span></span></span>'
)
HTMLCSS = (
    '<span class="MathJax" id="MathJax-Element-1-Frame" tabindex="0" role="presentation"{}><nobr aria-hidden="true">'
    '<span class="math" id="MathJax-Span-1"><span class="mrow"><span class="msubsup"><span class="mi">α</span>'
    '<span class="mn">17</span></span><span class="mo">=</span><span class="mfrac"><span class="mi">b</span>'
    '<span class="mn">2</span></span></span></span></nobr><span class="MJX_Assistive_MathML" role="presentation">'
    f'<math xmlns="http://www.w3.org/1998/Math/MathML">{MML}</math></span></span>'
)
KATEX_BOXES = (
    '<span class="katex-html" aria-hidden="true"><span class="base"><span class="strut" style="height:0.58em"></span>'
    '<span class="mord"><span class="mord mathnormal" style="margin-right:0.0037em;">α</span><span class="msupsub">'
    '<span class="vlist-t vlist-t2"><span class="vlist-r"><span class="vlist" style="height:0.3011em;">'
    '<span style="top:-2.55em;margin-left:-0.0037em;margin-right:0.05em;"><span class="pstrut" style="height:2.7em;">'
    '</span><span class="sizing reset-size6 size3 mtight"><span class="mord mtight"><span class="mord mtight">17</span>'
    '</span></span></span></span><span class="vlist-s">\u200b</span></span><span class="vlist-r"><span class="vlist" '
    'style="height:0.15em;"><span></span></span></span></span></span></span><span class="mspace" '
    'style="margin-right:0.2778em;"></span><span class="mrel">=</span><span class="mspace" '
    'style="margin-right:0.2778em;"></span></span><span class="base"><span class="strut"></span><span class="mord">'
    '<span class="mopen nulldelimiter"></span><span class="mfrac"><span class="vlist-t vlist-t2"><span class="vlist-r">'
    '<span class="vlist" style="height:0.88em;"><span style="top:-2.655em;"><span class="pstrut" style="height:3em;">'
    '</span><span class="sizing reset-size6 size3 mtight"><span class="mord mtight"><span class="mord mtight">2</span>'
    '</span></span></span><span style="top:-3.23em;"><span class="pstrut" style="height:3em;"></span>'
    '<span class="frac-line" style="border-bottom-width:0.04em;"></span></span><span style="top:-3.394em;">'
    '<span class="pstrut" style="height:3em;"></span><span class="sizing reset-size6 size3 mtight">'
    '<span class="mord mtight"><span class="mord mathnormal mtight">b</span></span></span></span></span>'
    '<span class="vlist-s">\u200b</span></span><span class="vlist-r"><span class="vlist" style="height:0.345em;">'
    '<span></span></span></span></span></span><span class="mclose nulldelimiter"></span></span></span></span>'
)
KATEX = (
    f'<span class="katex"><span class="katex-mathml"><math '
    f'xmlns="http://www.w3.org/1998/Math/MathML">{ANNOTATED}</math>'
    f"</span>{KATEX_BOXES}</span>"
)
WIRIS = f'<math xmlns="http://www.w3.org/1998/Math/MathML">{MML}</math>'.translate(
    {ord("<"): "«", ord(">"): "»", ord('"'): "¨"}
)


def images(template: str) -> tuple[str, str]:
    return template, f'<p style="text-align:center">{template}</p>'


# name: (head, inline, display); None where the carrier has no such form.
CARRIERS: dict[str, tuple[str, str | None, str | None]] = {
    # MathJax 2
    "mathjax 2 script": (
        MATHJAX2,
        f'<script type="math/tex">{F}</script>',
        f'<script type="math/tex; mode=display">{F}</script>',
    ),
    "mathjax 2 script, kramdown": (
        MATHJAX2,
        f"<script type='math/tex'>{F}</script>",
        f"<script type='math/tex; mode=display'>% <![CDATA[\n{F} %]]></script>",
    ),
    "mathjax 2 rendered, preview, script": (
        MATHJAX2,
        f'<span class="MathJax_Preview" style="color: inherit;">α17 = b/2</span>{HTMLCSS.format("")}'
        f'<script type="math/tex" id="MathJax-Element-1">{F}</script>',
        '<span class="MathJax_Preview" style="color: inherit;"></span><div class="MathJax_Display" style="text-align: '
        f'center;">{HTMLCSS.format("")}</div><script type="math/tex; mode=display" id="MathJax-Element-2">{F}</script>',
    ),
    "mathjax 2 rendered with data-mathml and script": (
        MATHJAX2,
        HTMLCSS.format(f' data-mathml="{escape(f"<math>{MML}</math>")}"') + f'<script type="math/tex">{F}</script>',
        '<div class="MathJax_Display">'
        + HTMLCSS.format(f' data-mathml="{escape(f"<math>{MML}</math>")}"')
        + f'</div><script type="math/tex; mode=display">{F}</script>',
    ),
    "mathjax 2 rendered with data-mathml alone": (
        "",
        HTMLCSS.format(f' data-mathml="{escape(f"<math>{MML}</math>")}"'),
        f'<div class="MathJax_Display">{HTMLCSS.format(escape(""))}</div>',
    ),
    "mathjax 2 chtml": (
        "",
        f'<span class="mjx-chtml">{CHTML2.format("")}</span>',
        f'<span class="mjx-chtml MJXc-display">{CHTML2.format("")}</span>',
    ),
    "mathjax-node chtml with label": (
        "",
        f'<span class="mjx-chtml">{CHTML2.format(f""" aria-label="{E}" """)}</span>',
        f'<span class="mjx-chtml MJXc-display">{CHTML2.format(f""" aria-label="{E}" """)}</span>',
    ),
    "mathjax-node svg with title": (
        "",
        '<svg role="img" focusable="false" aria-labelledby="MathJax-SVG-1-Title" viewBox="0 -900 1 2">'
        f'<title id="MathJax-SVG-1-Title">{E}</title><defs><path id="E1-MJMATHI-3B1" d="M34"></path></defs></svg>',
        None,
    ),
    "mathjax 2 preview alone": ("", f'<span class="MathJax_Preview">{F}</span>', None),
    "mathml script": (
        MATHJAX2,
        f'<script type="math/mml"><math>{MML}</math></script>',
        f'<script type="math/mml; mode=display"><math display="block">{MML}</math></script>',
    ),
    # MathJax 3 and 4
    "mathjax 3 chtml with assistive mathml": (
        "",
        '<mjx-container class="MathJax CtxtMenu_Attached_0" jax="CHTML" tabindex="0"><mjx-math class="MJX-TEX" '
        f'aria-hidden="true">{BOXES}</mjx-math><mjx-assistive-mml unselectable="on" display="inline"><math>{MML}</math>'
        "</mjx-assistive-mml></mjx-container>",
        f'<mjx-container class="MathJax" jax="CHTML" display="true"><mjx-math display="true" class="MJX-TEX">{BOXES}'
        f'</mjx-math><mjx-assistive-mml unselectable="on" display="block"><math display="block">{MML}</math>'
        "</mjx-assistive-mml></mjx-container>",
    ),
    "mathjax 3 chtml alone": (
        "",
        f'<mjx-container class="MathJax" jax="CHTML"><mjx-math class="MJX-TEX">{BOXES}</mjx-math></mjx-container>',
        '<mjx-container class="MathJax" jax="CHTML" display="true"><mjx-math display="true" class="MJX-TEX">'
        f"{BOXES}</mjx-math></mjx-container>",
    ),
    "mathjax 3 svg alone": (
        "",
        '<mjx-container class="MathJax" jax="SVG"><svg role="img" viewBox="0 -884 3557 1229"><defs><path '
        f'id="MJX-1-TEX-I-1D6FC"></path></defs><g><g data-mml-node="math">{GROUPS}</g></g></svg></mjx-container>',
        '<mjx-container class="MathJax" jax="SVG" display="true"><svg role="img" viewBox="0 -884 3557 1229">'
        f'<g><g data-mml-node="math">{GROUPS}</g></g></svg></mjx-container>',
    ),
    "mathjax 3 svg without container": (
        "",
        f'<svg role="img"><g><g data-mml-node="math">{GROUPS}</g></g></svg>',
        None,
    ),
    "mathjax 4 data-latex": (
        "",
        f'<mjx-container class="MathJax" jax="CHTML"><mjx-math data-latex="{E}">{BOXES}</mjx-math></mjx-container>',
        f'<mjx-container class="MathJax" jax="SVG" display="true"><svg role="img"><g><g data-mml-node="math" '
        f'data-latex="{E}">{GROUPS}</g></g></svg></mjx-container>',
    ),
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
    # Images
    "wordpress.com": (
        "",
        f'<img src="https://s0.wp.com/latex.php?latex={quote_plus(F)}&amp;bg=ffffff&amp;fg=000&amp;s=0&amp;c=2020" '
        f'srcset="https://s0.wp.com/latex.php?latex={quote_plus(F)}&amp;zoom=4.5 4.5x" alt="{E}" class="latex">',
        f'<p align="center"><img src="https://s0.wp.com/latex.php?latex=%5Cdisplaystyle+{quote_plus(F)}&amp;bg=ffffff" '
        f'alt="\\displaystyle {E}" class="latex"></p>',
    ),
    "codecogs": ("", f'<img src="https://latex.codecogs.com/gif.latex?%5Cinline%20%5Cdpi%7B120%7D%20{Q}" '
                     f'title="{E}">', None),
    "codecogs, spaces by name": (
        "", '<img src="http://latex.codecogs.com/gif.latex?\\inline&space;\\alpha_{17}=\\frac{b}{2}" />', None),
    "codecogs, svg": ("", f'<img src="https://latex.codecogs.com/svg.image?{Q}">', None),
    "mimetex": ("", f'<img src="http://www.forkosh.com/mimetex.cgi?{F}" alt="">', None),
    "mathtex": ("", f'<img src="/cgi-bin/mathtex.cgi?{Q}">', None),
    "google chart": ("", f'<img src="https://chart.googleapis.com/chart?cht=tx&amp;chl={Q}">', None),
    "upmath": ("", f'<img src="https://i.upmath.me/svg/{Q}" alt="{E}">', None),
    "texify": ("", f'<img src="http://www.texify.com/img/%5Cnormalsize%5C%21{Q}.gif">', None),
    "sciweavers": ("", f'<img src="http://www.sciweavers.org/tex2img.php?eq={Q}&amp;bc=White&amp;fc=Black">', None),
    "brainly": ("", f'<img src="https://tex.z-dn.net/?f={Q}" alt="{E}" title="{E}" class="latex-formula">', None),
    "github image": ("", f'<img src="https://render.githubusercontent.com/render/math?math={Q}">', None),
    "yuque": ("", f'<img src="https://cdn.nlark.com/yuque/__latex/1a2b.svg#card=math&amp;code={Q}&amp;id=x1">', None),
    "jianshu": (
        "",
        f'<img class="math-inline" src="https://math.jianshu.com/math?formula={Q}" alt="{E}" mathimg="1">',
        f'<img class="math-block" src="https://math.jianshu.com/math?formula={Q}" alt="{E}" mathimg="1">',
    ),
    "quicklatex": (
        "",
        f'<img src="https://x.org/wp-content/ql-cache/quicklatex.com-0_l3.png" class="ql-img-inline-formula '
        f'quicklatex-auto-format" alt="{E}" title="Rendered by QuickLaTeX.com" height="9" width="45">',
        f'<p class="ql-center-displayed-equation" style="line-height: 22px;"><span class="ql-right-eqno"> '
        f'&nbsp; </span>'
        f'<span class="ql-left-eqno"> &nbsp; </span><img src="https://x.org/ql-cache/quicklatex.com-1_l3.png" '
        f'class="ql-img-displayed-equation quicklatex-auto-format" alt="\\[{E}\\]" title="Rendered by '
        f'QuickLaTeX.com"></p>',
    ),
    "aops": (
        "",
        f'<img src="//latex.artofproblemsolving.com/1/2/3.png" class="latex" alt="${E}$" style="vertical-align: -5px">',
        f'<p><img src="//latex.artofproblemsolving.com/1/2/4.png" class="latexcenter" alt="\\[{E}\\]"></p>',
    ),
    "sphinx imgmath": (
        "",
        f'<img class="math" src="_images/math/0a1b.png" alt="{E}" style="vertical-align: -4px"/>',
        f'<div class="math">\n<p><img src="_images/math/0a1c.svg" alt="{E}"/></p>\n</div>',
    ),
    "doxygen": (
        "",
        f'<img class="formulaInl" alt="${E}$" src="form_0.png" width="60" height="9"/>',
        f'<p class="formulaDsp">\n<img class="formulaDsp" alt="\\[ {E} \\]" src="form_1.png"/>\n</p>',
    ),
    "latex2html": (
        "",
        f'<!-- MATH\n ${F}$\n --><img width="64" height="36" align="MIDDLE" border="0" src="img1.png" alt="${E}$">',
        f'<p></p><div align="CENTER"><img width="90" src="img2.png" '
        f'alt="\\begin{{displaymath}}\n{E}\n\\end{{displaymath}}">'
        "</div><p></p>",
    ),
    "org mode image": ("", f'<img src="ltximg/a_1.png" alt="${E}$" class="org-latex" />', None),
    "image with environment": ("", None, f'<p><img class="aligncenter" src="eq.svg" alt="\\begin{{align*}} {E} '
                                         f'\\end{{align*}}"></p>'),
    "unmarked image": ("", f'<img src="https://x.org/inline-eq.svg" alt="{E}" width="224">', None),
    "address as path": ("", f'<img src="https://x.org/formula/{quote(F, safe="")}">', None),
    "moodle": ("", f'<img class="texrender" title="{E}" alt="{E}" src="/filter/tex/pix.php/0a.gif"/>', None),
    "wiris": (
        "",
        f'<img class="Wirisformula" src="showimage?formula=0a" data-mathml="{escape(WIRIS)}" alt="alpha with '
        f'17 below">',
        None,
    ),
    "wiris, plain mathml": ("", f'<img class="Wirisformula" data-mathml="{escape(f"<math>{MML}</math>")}" '
                                f'alt="alpha">', None),
    "late image": (
        "",
        f'<img src="data:image/gif;base64,R0lGOD" data-src="https://latex.codecogs.com/png.latex?{Q}" class="lazyload">'
        f'<noscript><img src="https://latex.codecogs.com/png.latex?{Q}"></noscript>',
        None,
    ),
    "image for readers without scripts": ("", f'<noscript><img src="https://latex.codecogs.com/png.latex?{Q}">'
                                              f'</noscript>', None),
    # Sites and generators
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
DIFFERENT = {
    "pandoc without mathjax": r"\alpha_{17} = b^2",
}
"""Formulas of carriers that cannot carry the one above."""


def check(head: str, body: str, expected: list[tuple[str, bool]], rest: str) -> None:
    page = extract_page(f"<!DOCTYPE html><html><head><title>T</title>{head}</head><body>{body}</body></html>")
    assert [(loose(formula.latex), formula.display) for formula in page.formulas] == [
        (loose(latex), display) for latex, display in expected
    ], page.text
    left = list(page.text)
    for formula in page.formulas:
        mark = "$$" if formula.display else "$"
        assert page.text[formula.start : formula.end] == f"{mark}{formula.latex}{mark}"
        left[formula.start : formula.end] = " " * (formula.end - formula.start)
    assert "".join(left).split() == rest.split()


@pytest.mark.parametrize("name", CARRIERS)
def test_carrier_comes_out_once_as_latex(name: str) -> None:
    head, inline, display = CARRIERS[name]
    latex = DIFFERENT.get(name, F)
    body = "<p>The first words of the article stand here.</p>"
    rest = "The first words of the article stand here."
    expected = []
    if inline is not None:
        body += f"<p>Let {inline} be small.</p>"
        rest += " Let be small."
        expected.append((latex, False))
    if display is not None:
        body += f"<div>{display}</div>"
        expected.append((latex, name != "nbconvert output"))
    check(head, body + "<p>And so it ends.</p>", expected, rest + " And so it ends.")


WORDS = "The theorem holds for every prime number that divides one of the two."
PLACES = {
    "heading": "<h2>On {}</h2>",
    "list": "<ul><li>on {}</li><li>two</li></ul>",
    "ordered list": "<ol><li><p>on {}</p></li></ol>",
    "table": "<table><tr><th>k</th><th>v</th></tr><tr><td>on {}</td><td>2</td></tr></table>",
    "quote": "<blockquote><p>on {}</p></blockquote>",
    "link": '<p>on <a href="/x">{}</a></p>',
    "caption": "<figure><img src=x.png><figcaption>on {}</figcaption></figure>",
    "emphasis": "<p><b>on <i>{}</i></b></p>",
    "definition": "<dl><dt>on {}</dt><dd>meaning</dd></dl>",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["mathjax 2 script", "parentheses and brackets", "katex", "mathml", "codecogs"])
def test_carrier_in_every_place(name: str, place: str) -> None:
    head, inline, _ = CARRIERS[name]
    assert inline is not None
    page = extract_page(f"<head>{head}</head><body><p>{WORDS}</p>{PLACES[place].format(inline)}<p>{WORDS}</p></body>")
    assert [(loose(formula.latex), formula.display) for formula in page.formulas] == [(loose(F), False)], page.text
    assert f"on ${page.formulas[0].latex}$" in page.text.replace("On ", "on ")
