"""The formula of the carriers, as TeX, as MathML and as the boxes that typesetters make of it."""

from html import escape
from urllib.parse import quote

Carrier = tuple[str, str | None, str | None]
"""Head of the page, the formula inline, the formula displayed; None where the carrier has no such form."""

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
    '<span class="katex"><span class="katex-mathml">'
    f'<math xmlns="http://www.w3.org/1998/Math/MathML">{ANNOTATED}</math>'
    f"</span>{KATEX_BOXES}</span>"
)
