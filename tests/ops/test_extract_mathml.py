"""Presentation MathML to LaTeX."""

import pytest
from docutils.core import publish_parts

from ops.extract import extract_page
from tests.ops.mathbench import loose

CASES = {
    "<mi>x</mi>": "x",
    "<msup><mi>x</mi><mn>2</mn></msup>": "x^2",
    "<msup><mi>x</mi><mn>10</mn></msup>": "x^{10}",
    "<msub><mi>x</mi><mi>i</mi></msub><msup><mi>y</mi><mo>′</mo></msup>": "x_iy'",
    "<msubsup><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></msubsup>": r"\sum_{i = 1}^n",
    "<munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover><mi>i</mi>": r"\sum_i^ni",
    "<munder><mi>lim</mi><mrow><mi>n</mi><mo>→</mo><mi>∞</mi></mrow></munder>": r"\lim_{n \to \infty}",
    "<mfrac><mi>a</mi><mi>b</mi></mfrac>": r"\frac{a}{b}",
    "<mrow><mo>(</mo><mfrac linethickness='0'><mi>n</mi><mi>k</mi></mfrac><mo>)</mo></mrow>": r"\binom{n}{k}",
    "<mrow><mo>(</mo><mfrac><mi>n</mi><mi>k</mi></mfrac><mo>)</mo></mrow>": r"\left( \frac{n}{k} \right)",
    "<msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt>": r"\sqrt{a + b}",
    "<mroot><mi>x</mi><mn>3</mn></mroot>": r"\sqrt[3]{x}",
    "<mover accent='true'><mi>x</mi><mo>^</mo></mover>": r"\hat{x}",
    "<mover><mi>x</mi><mo>→</mo></mover>": r"\vec{x}",
    "<mover><mrow><mi>a</mi><mi>b</mi></mrow><mo>¯</mo></mover>": r"\overline{ab}",
    "<mover><mo>=</mo><mtext>def</mtext></mover>": r"\overset{\text{def}}{=}",
    "<munder><mi>x</mi><mo>_</mo></munder>": r"\underline{x}",
    "<mfenced><mi>a</mi><mi>b</mi></mfenced>": "(a, b)",
    "<mfenced open='[' close=')' separators=';'><mi>a</mi><mi>b</mi></mfenced>": "[a; b)",
    "<mtext>if </mtext><mi>x</mi>": r"\text{if }x",
    "<mi>sin</mi><mo>&#x2061;</mo><mi>x</mi>": r"\sin x",
    "<mi>α</mi><mi>x</mi><mo>≤</mo><mi>β</mi>": r"\alpha x \leq \beta",
    "<mi mathvariant='double-struck'>R</mi><mi>ℤ</mi><mi>𝐱</mi><mi mathvariant='normal'>d</mi>":
        r"\mathbb{R}\mathbb{Z}\mathbf{x}\mathrm{d}",
    "<mrow><mo>(</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr><mtr><mtd><mn>3</mn></mtd><mtd><mn>4"
    "</mn></mtd></mtr></mtable><mo>)</mo></mrow>": r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    "<mrow><mo>{</mo><mtable><mtr><mtd><mn>1</mn></mtd></mtr><mtr><mtd><mn>3</mn></mtd></mtr></mtable></mrow>":
        r"\begin{cases} 1 \\ 3 \end{cases}",
    "<mi>a</mi><mspace width='1em'/><mi>b</mi>": r"a\quad b",
    "<mpadded><mstyle><mi>a</mi></mstyle></mpadded><mphantom><mi>b</mi></mphantom>": r"a\phantom{b}",
    "<semantics><mi>a</mi><annotation encoding='text/plain'>zzz</annotation></semantics>": "a",
    "<mmultiscripts><mi>F</mi><mn>3</mn><none/><mprescripts/><mn>2</mn><none/></mmultiscripts>": "{}_2F_3",
    "<menclose notation='box'><mi>x</mi></menclose>": r"\boxed{x}",
    "<mn>50</mn><mo>%</mo><mo>&amp;</mo><mo>{</mo><mi>x</mi><mo>}</mo>": r"50\%\&\{x\}",
    "<mi>a</mi><mo>-</mo><mo>-</mo><mi>b</mi>": "a - -b",
    "<msup><mrow><mo>(</mo><mi>a</mi><mo>)</mo></mrow><mn>2</mn></msup>": "(a)^2",
    "<msup><msub><mi>a</mi><mn>1</mn></msub><mn>2</mn></msup>": "{a_1}^2",
    "<mi>&lt;script&gt;</mi>": "<script>",
    "<mstack><mn>424</mn><msrow><mo>+</mo><mn>33</mn></msrow><msline/></mstack>":
        r"\begin{array}{r} 424 \\ +33 \\ \hline \end{array}",
    "<mlongdiv><mn>3</mn><mn>435</mn><mn>1306</mn><msgroup><mn>12</mn></msgroup></mlongdiv>":
        r"\begin{array}{r} 435 \\ 3 \enclose{longdiv}{1306} \\ 12 \end{array}",
    "<menclose notation='longdiv'><mi>x</mi></menclose>": r"\enclose{longdiv}{x}",
    "<menclose notation='updiagonalstrike downdiagonalstrike'><mi>x</mi></menclose>": r"\xcancel{x}",
    "<maction actiontype='toggle' selection='2'><mi>a</mi><mi>b</mi></maction>": r"b",
    "<mi>foo</mi><weird><mi>x</mi></weird>": r"\mathrm{foo}x",
    "<merror><mtext>\\foo</mtext></merror>": r"\foo",
    "<munder><mo movablelimits='true'>argmax</mo><mi>x</mi></munder>": r"\operatorname{argmax}_x",
    "<mtext>so <math><mi>x</mi></math> is</mtext>": r"\text{ so }x\text{ is }",
    "<msubsup><mo>∫</mo><mn>0</mn><mn>1</mn></msubsup>": r"\int_0^1",
    "<mmultiscripts><mi>R</mi><mi>i</mi><none/><none/><mi>j</mi></mmultiscripts>": r"R_i^j",
    "<mmultiscripts><mi>U</mi><mprescripts/><mn>92</mn><mn>238</mn></mmultiscripts>": r"{}_{92}^{238}U",
    "<mover><mi>x</mi><mo stretchy='false'>˙</mo></mover>": r"\dot{x}",
    "<munder><munder><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mo>⏟</mo></munder><mi>n</mi>"
    "</munder>":
        r"\underbrace{a + b}_n",
    "<mover><mo>→</mo><mtext>def</mtext></mover>": r"\xrightarrow{\text{def}}",
    "<mtable displaystyle='true'><mlabeledtr><mtd><mtext>(3.1)</mtext></mtd><mtd><mi>x</mi><mo>=</mo>"
    "<mn>1</mn></mtd></mlabeledtr></mtable>":
        r"x = 1 \tag{3.1}",
    "<mfrac bevelled='true'><mn>1</mn><mn>2</mn></mfrac>": r"1/2",
    "<mo>∄</mo><mo>≢</mo><mo>⊄</mo><mo>∤</mo>": r"\nexists \not\equiv \not\subset \nmid",
    "<ms>abc</ms>": "\\text{\"abc\"}",
    "<mrow><mi>a</mi><mo>≡</mo><mi>b</mi><mspace width='1em'/><mo>(</mo><mi>mod</mi>"
    "<mspace width='0.333em'/><mi>p</mi><mo>)</mo></mrow>":
        r"a \equiv b\pmod{p}",
    "<mi mathvariant='sans-serif'>m</mi><mi mathvariant='sans-serif'>a</mi>"
    "<mi mathvariant='sans-serif'>x</mi>":
        r"\mathsf{max}",
    "<mrow><mi>𝐒</mi><mi>𝐞</mi><mi>𝐭</mi></mrow>": r"\mathbf{Set}",
    "<mi>𝐱</mi><mi>y</mi>": r"\mathbf{x}y",
    "<mo>∉</mo><mo>=</mo><mo≯</mo>": r"\notin \not =",
    "<mtable columnalign='right left' displaystyle='true'><mtr><mtd><mi>a</mi></mtd><mtd><mo>=</mo>"
    "<mi>b</mi></mtd></mtr><mtr><mtd></mtd><mtd><mo>=</mo><mi>c</mi></mtd></mtr></mtable>":
        r"\begin{aligned} a & = b \\ & = c \end{aligned}",
    "<mtable columnlines='solid' rowlines='solid'><mtr><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd>"
    "</mtr><mtr><mtd><mi>c</mi></mtd><mtd><mi>d</mi></mtd></mtr></mtable>":
        r"\begin{array}{c|c} a & b \\ \hline c & d \end{array}",
    "<munder><mo>∑</mo><mtable><mtr><mtd><mi>i</mi></mtd></mtr><mtr><mtd><mi>j</mi></mtd></mtr>"
    "</mtable></munder>":
        r"\sum_{\substack{i \\ j}}",
    "<munderover><mo>→</mo><mi>g</mi><mi>f</mi></munderover>": r"\xrightarrow[g]{f}",
    "<mi>ж</mi><mtext>привет</mtext>": r"\text{ж}\text{привет}",
    "<mtext>a_b &amp; 50% ~</mtext>": r"\text{a\_b \& 50\% \textasciitilde }",
    "<mstyle mathvariant='bold'><mi>x</mi><mo>+</mo><mi>y</mi></mstyle>": r"\mathbf{x} + \mathbf{y}",
    "<msup><mi>f</mi><mrow><mo>′</mo><mn>2</mn></mrow></msup>": r"f'^2",
    "<mi><mrow><mi>a</mi><mi>b</mi></mrow></mi>": r"ab",
    "<mo>||</mo><mi>x</mi><mo>||</mo>": r"||x||",
}  # fmt: skip


@pytest.mark.parametrize("mathml", CASES)
def test_case(mathml: str) -> None:
    formulas = extract_page(f"<p><math>{mathml}</math></p>").formulas
    assert [formula.latex for formula in formulas] == [CASES[mathml]]


def test_deep_mathml_keeps_its_text() -> None:
    depth = 3000
    formulas = extract_page(f"<math>{'<msqrt>' * depth}<mi>x</mi>{'</msqrt>' * depth}</math>").formulas
    assert formulas[0].latex.startswith(r"\sqrt{\sqrt{")
    assert "x" in formulas[0].latex


@pytest.mark.parametrize(
    "latex",
    [
        r"\frac{a}{b} + \sum_{i=1}^n x_i \in \mathbb{R}",
        r"\int_0^\infty e^{-x} dx = \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"\sqrt[3]{x} \leq \hat{a} \left(\frac{a}{b}\right)",
        r"f(x) = \begin{cases} 1 & \text{if } x > 0 \\ 0 & \text{else} \end{cases}",
        r"\lim_{n\to\infty} \sin(x) \cdot \alpha_{ij}^2",
        r"\mathbf{x}^T \mathcal{L} \bar{y} \partial_t u \neq \nabla f",
        "\\begin{align}a &= b \\\\ c &= d\\end{align}",
    ],
)
def test_pages_that_docutils_writes(latex: str) -> None:
    """The way back: docutils turns LaTeX into MathML without an annotation."""
    source = f"Before :math:`x`\n\n.. math::\n\n   {latex}\n"
    html = publish_parts(source, writer="html5", settings_overrides={"math_output": "MathML"})["whole"]
    page = extract_page(html)
    assert [formula.display for formula in page.formulas] == [False, True]
    assert page.formulas[0].latex == "x"
    assert loose(page.formulas[1].latex) == loose(latex)


@pytest.mark.parametrize(
    ("attributes", "latex"),
    [
        (' alttext="x squared"', "x^2"),
        (' alttext="x^{2}"', "x^{2}"),
        (' alttext="Image of a formula"', "x^2"),
        (' alttext="2x"', "2x"),
    ],
)
def test_alttext_is_taken_when_it_is_tex(attributes: str, latex: str) -> None:
    html = f"<p>a <math{attributes}><msup><mi>x</mi><mn>2</mn></msup></math></p>"
    assert [formula.latex for formula in extract_page(html).formulas] == [latex]


@pytest.mark.parametrize(
    "encoding", ["application/x-tex", "TeX", "LaTeX", "text/x-latex", "application/x-tex; mode=inline"]
)
def test_annotation_in_tex(encoding: str) -> None:
    html = f"<math><semantics><mi>x</mi><annotation encoding='{encoding}'>\\xi</annotation></semantics></math>"
    assert [formula.latex for formula in extract_page(f"<p>{html}</p>").formulas] == ["\\xi"]
