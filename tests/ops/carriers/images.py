"""Images of formulas, with the TeX in their text or address."""

from html import escape
from urllib.parse import quote, quote_plus

from tests.ops.carriers.formula import MML, Carrier, E, F, Q

WIRIS = f'<math xmlns="http://www.w3.org/1998/Math/MathML">{MML}</math>'.translate(
    {ord("<"): "«", ord(">"): "»", ord('"'): "¨"}
)

IMAGES: dict[str, Carrier] = {
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
}  # fmt: skip
