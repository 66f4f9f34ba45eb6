"""Content MathML to LaTeX, alone and mixed with presentation."""

import pytest

from ops.extract import extract_page

CASES = {
    "<apply><plus/><ci>a</ci><apply><times/><cn>2</cn><ci>b</ci></apply></apply>": r"a + 2b",
    "<apply><times/><apply><plus/><ci>a</ci><ci>b</ci></apply><ci>c</ci></apply>": r"(a + b)c",
    "<apply><minus/><ci>a</ci><apply><minus/><ci>b</ci><ci>c</ci></apply></apply>": r"a - (b - c)",
    "<apply><minus/><ci>x</ci></apply>": r"-x",
    "<apply><divide/><apply><minus/><ci>a</ci><ci>b</ci></apply><ci>c</ci></apply>": r"\frac{a - b}{c}",
    "<apply><power/><apply><plus/><ci>a</ci><ci>b</ci></apply><cn>2</cn></apply>": r"(a + b)^2",
    "<apply><power/><apply><sin/><ci>x</ci></apply><cn>2</cn></apply>": r"\sin^2 x",
    "<apply><root/><degree><cn>3</cn></degree><ci>x</ci></apply>": r"\sqrt[3]{x}",
    "<apply><root/><ci>x</ci></apply>": r"\sqrt{x}",
    "<apply><eq/><ci>x</ci><cn type='rational'>1<sep/>2</cn></apply>": r"x = \frac{1}{2}",
    "<apply><sum/><bvar><ci>i</ci></bvar><lowlimit><cn>0</cn></lowlimit><uplimit><ci>n</ci></uplimit>"
    "<apply><power/><ci>x</ci><ci>i</ci></apply></apply>":
        r"\sum_{i = 0}^{n} x^i",
    "<apply><int/><bvar><ci>x</ci></bvar><lowlimit><cn>0</cn></lowlimit><uplimit><infinity/>"
    "</uplimit><apply><exp/><apply><minus/><ci>x</ci></apply></apply></apply>":
        r"\int_{0}^{\infty} \exp(-x)\,dx",
    "<apply><int/><bvar><ci>x</ci></bvar><interval><ci>a</ci><ci>b</ci></interval><apply><ci>f</ci>"
    "<ci>x</ci></apply></apply>":
        r"\int_{a}^{b} f(x)\,dx",
    "<apply><int/><bvar><ci>x</ci></bvar><domainofapplication><ci>C</ci></domainofapplication><apply>"
    "<ci>f</ci><ci>x</ci></apply></apply>":
        r"\int_{C} f(x)\,dx",
    "<apply><diff/><bvar><ci>x</ci></bvar><apply><ci>f</ci><ci>x</ci></apply></apply>": r"\frac{df(x)}{dx}",
    "<apply><diff/><bvar><ci>x</ci><degree><cn>2</cn></degree></bvar><apply><ci>f</ci><ci>x</ci>"
    "</apply></apply>":
        r"\frac{d^2 f(x)}{dx^2}",
    "<apply><diff/><ci>f</ci></apply>": r"f'",
    "<apply><partialdiff/><bvar><ci>x</ci></bvar><bvar><ci>y</ci></bvar><apply><ci>f</ci><ci>x</ci>"
    "<ci>y</ci></apply></apply>":
        r"\frac{\partial^2 f(x, y)}{\partial x \partial y}",
    "<apply><limit/><bvar><ci>x</ci></bvar><lowlimit><cn>0</cn></lowlimit><apply><sin/><ci>x</ci>"
    "</apply></apply>":
        r"\lim_{x \to 0} \sin x",
    "<apply><limit/><bvar><ci>x</ci></bvar><condition><apply><tendsto type='above'/><ci>x</ci><ci>a"
    "</ci></apply></condition><apply><sin/><ci>x</ci></apply></apply>":
        r"\lim_{x \to a} \sin x",
    "<piecewise><piece><cn>0</cn><apply><lt/><ci>x</ci><cn>0</cn></apply></piece><otherwise><ci>x"
    "</ci></otherwise></piecewise>":
        r"\begin{cases} 0 & \text{if } x < 0 \\ x & \text{otherwise} \end{cases}",
    "<matrix><matrixrow><cn>1</cn><cn>2</cn></matrixrow><matrixrow><cn>3</cn><cn>4</cn></matrixrow>"
    "</matrix>":
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    "<vector><cn>1</cn><cn>2</cn></vector>": r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
    "<set><ci>a</ci><ci>b</ci></set>": r"\{a, b\}",
    "<set><bvar><ci>x</ci></bvar><condition><apply><lt/><ci>x</ci><cn>5</cn></apply></condition><ci>x"
    "</ci></set>":
        r"\{x \mid x < 5\}",
    "<interval closure='open-closed'><ci>a</ci><ci>b</ci></interval>": r"(a, b]",
    "<apply><forall/><bvar><ci>x</ci></bvar><condition><apply><in/><ci>x</ci><reals/></apply>"
    "</condition><apply><geq/><apply><power/><ci>x</ci><cn>2</cn></apply><cn>0</cn></apply></apply>":
        r"\forall x \in \mathbb{R} : x^2 \geq 0",
    "<apply><exists/><bvar><ci>x</ci></bvar><apply><and/><ci>p</ci><apply><not/><ci>q</ci></apply>"
    "</apply></apply>":
        r"\exists x : p \wedge \neg q",
    "<apply><implies/><ci>p</ci><apply><or/><ci>q</ci><apply><and/><ci>r</ci><ci>s</ci></apply>"
    "</apply></apply>":
        r"p \Rightarrow (q \vee r \wedge s)",
    "<apply><union/><ci>A</ci><apply><intersect/><ci>B</ci><ci>C</ci></apply></apply>": r"A \cup (B \cap C)",
    "<lambda><bvar><ci>x</ci></bvar><apply><plus/><ci>x</ci><cn>1</cn></apply></lambda>": r"x \mapsto x + 1",
    "<apply><log/><logbase><cn>2</cn></logbase><ci>x</ci></apply>": r"\log_2 x",
    "<apply><factorial/><ci>n</ci></apply>": r"n!",
    "<apply><abs/><ci>x</ci></apply>": r"|x|",
    "<apply><gcd/><ci>a</ci><ci>b</ci></apply>": r"\gcd(a, b)",
    "<apply><selector/><ci type='matrix'>A</ci><ci>i</ci><ci>j</ci></apply>": r"\mathbf{A}_{i, j}",
    "<apply><inverse/><ci>f</ci></apply>": r"f^{-1}",
    "<apply><transpose/><ci type='matrix'>A</ci></apply>": r"\mathbf{A}^T",
    "<apply><ci><msub><mi>f</mi><mn>1</mn></msub></ci><ci>x</ci></apply>": r"f_1(x)",
    "<apply><csymbol cd='arith1'>plus</csymbol><ci>x</ci><pi/></apply>": r"x + \pi",
    "<bind><csymbol cd='quant1'>forall</csymbol><bvar><ci>x</ci></bvar><apply>"
    "<csymbol cd='relation1'>leq</csymbol><ci>x</ci><ci>y</ci></apply></bind>":
        r"\forall x : x \leq y",
    "<cn type='e-notation'>12.3<sep/>5</cn>": r"12.3 \times 10^5",
    "<cn type='complex-cartesian'>3<sep/>4</cn>": r"3 + 4i",
    "<cn type='constant'>&pi;</cn>": r"\pi",
    "<apply><power/><cn>-1</cn><ci>n</ci></apply>": r"(-1)^n",
    "<mrow><mi>y</mi><mo>=</mo><apply><plus/><ci>a</ci><ci>b</ci></apply></mrow>": r"y = a + b",
    "<semantics><mrow><mi>a</mi></mrow><annotation-xml encoding='MathML-Content'><apply><plus/><ci>a"
    "</ci><ci>b</ci></apply></annotation-xml></semantics>":
        r"a",
    "<semantics><apply><plus/><ci>a</ci><ci>b</ci></apply>"
    "<annotation-xml encoding='MathML-Presentation'><mi>a</mi><mo>+</mo><mi>b</mi></annotation-xml>"
    "</semantics>":
        r"a + b",
    "<apply><compose/><ci>f</ci><ci>g</ci></apply>": r"f \circ g",
    "<apply><apply><compose/><ci>f</ci><ci>g</ci></apply><ci>x</ci></apply>": r"(f \circ g)(x)",
    "<apply><mean/><ci>X</ci></apply>": r"\langle X \rangle",
    "<apply><moment/><degree><cn>3</cn></degree><ci>X</ci></apply>": r"\langle X^{3} \rangle",
    "<apply><exp/><ci>x</ci></apply>": r"\exp x",
    "<apply><times/><ci>a</ci><cn>3</cn></apply>": r"a \cdot 3",
    "<reln><lt/><ci>a</ci><ci>b</ci></reln>": r"a < b",
    "<apply><plus/><ci>a</ci><cn>-3</cn></apply>": r"a - 3",
    "<apply><quotient/><ci>a</ci><ci>b</ci></apply>": r"\lfloor a / b \rfloor",
    "<apply><conjugate/><ci>z</ci></apply>": r"\overline{z}",
    "<apply><product/><bvar><ci>p</ci></bvar><condition><apply><in/><ci>p</ci><primes/></apply>"
    "</condition><ci>p</ci></apply>":
        r"\prod_{p \in \mathbb{P}} p",
    "<apply><laplacian/><ci>f</ci></apply>": r"\nabla^2 f",
    "<apply><curl/><ci>F</ci></apply>": r"\nabla \times F",
    "<apply><determinant/><ci>A</ci></apply>": r"\det A",
    "<apply><real/><ci>z</ci></apply>": r"\Re z",
    "<apply><arctan/><apply><divide/><ci>y</ci><ci>x</ci></apply></apply>": r"\arctan \frac{y}{x}",
    "<apply><max/><bvar><ci>x</ci></bvar><condition><apply><in/><ci>x</ci><ci>B</ci></apply>"
    "</condition><apply><ci>f</ci><ci>x</ci></apply></apply>":
        r"\max_{x \in B} f(x)",
}  # fmt: skip


@pytest.mark.parametrize("mathml", CASES)
def test_case(mathml: str) -> None:
    formulas = extract_page(f"<p>a <math>{mathml}</math></p>").formulas
    assert [formula.latex for formula in formulas] == [CASES[mathml]]


def test_deep_content_keeps_its_text() -> None:
    formulas = extract_page(f"<p>a <math>{'<apply><plus/><ci>x</ci>' * 3000}").formulas
    assert formulas[0].latex.startswith("x + x + ")
