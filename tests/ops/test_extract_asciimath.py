"""AsciiMath to LaTeX: symbols, arguments, matrices; it ends on any input."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.extract.asciimath import asciimath_to_latex
from tests.ops.mathbench import loose

PAIRS = {
    "sum_(i=1)^n i^3=((n(n+1))/2)^2": r"\sum_{i=1}^n i^3=\left(\frac{n(n+1)}{2}\right)^2",
    "x=(-b +- sqrt(b^2-4ac))/(2a)": r"x=\frac{-b\pm\sqrt{b^2-4ac}}{2a}",
    "int_0^1 f(x) dx": r"\int_0^1 f(x) dx",
    "lim_(h->0) (f(x+h)-f(x))/h": r"\lim_{h\to 0}\frac{f(x+h)-f(x)}{h}",
    "[[a,b],[c,d]]((n),(k))": r"\begin{bmatrix}a&b\\c&d\end{bmatrix}\begin{pmatrix}n\\k\end{pmatrix}",
    "|x|={(x,if x>=0),(-x,text(otherwise)):}": r"|x|=\begin{cases}x&\text{if }x\ge 0\\-x&\text{otherwise}\end{cases}",
    "sin^2 x+cos(2x)/3": r"\sin^2 x+\frac{\cos(2x)}{3}",
    "root(3)(x+1)/sqrt x": r"\frac{\sqrt[3]{x+1}}{\sqrt{x}}",
    "hat x bar(ab) vec v dot y ul(a)": r"\hat{x}\overline{ab}\vec{v}\dot{y}\underline{a}",
    "alpha beta Gamma oo RR in !in sube": r"\alpha\beta\Gamma\infty\mathbb{R}\in\notin\subseteq",
    "a<=b!=c=>d<=>e": r"a\le b\ne c\implies d\iff e",
    "bb A bbb R cc L fr g tt x": r"\mathbf{A}\mathbb{R}\mathcal{L}\mathfrak{g}\mathtt{x}",
    "abs(x) norm(v) floor(y) ceil(z)": r"|x|\|v\|\lfloor y\rfloor\lceil z\rceil",
    'a "is less than" b': r"a\text{is less than}b",
    "stackrel(def)(=) overset(a)(b) underset(c)(d)": r"\overset{def}{=}\overset{a}{b}\underset{c}{d}",
    "u_-3+x_(i+1)^2": r"u_{-3}+x_{i+1}^2",
    "f'(x)/g^2": r"f'\frac{x}{g^2}",
    "(a,b]": r"(a,b]",
    "x_1,...,x_n": r"x_1,\ldots,x_n",
    "\\alpha\\cdot 2.5": r"\alpha\cdot 2.5",
    "color(red)(x)+cancel(y)": r"x+\cancel{y}",
    "{:(x,=,1),(y,=,2):}": r"\begin{matrix}x&=&1\\y&=&2\end{matrix}",
    "a mod b |": r"a \bmod b|",
    "(x": r"(x",
    "x)": r"x)",
}


@pytest.mark.parametrize("source", PAIRS)
def test_pairs(source: str) -> None:
    latex = asciimath_to_latex(source)
    assert latex is not None
    assert loose(latex) == loose(PAIRS[source])


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            ["(", ")", "[", "]", "{", "}", "|", "{:", ":}", "/", "_", "^", "sqrt", "root", "frac", "x", "sin", "f", ",",
             '"', "text(", "1.5", "-", "+", "alpha", "\\", " ", "color", "((a,b),(c,d))", "hat", "abs", "<<", "é", "$"]
        ),
        max_size=60,
    )
)  # fmt: skip
def test_any_input_ends_with_balanced_braces(pieces: list[str]) -> None:
    latex = asciimath_to_latex("".join(pieces))
    assert latex is not None
    plain = latex.replace("\\{", "").replace("\\}", "")
    assert plain.count("{") == plain.count("}")


def test_too_much_is_not_converted() -> None:
    assert asciimath_to_latex("(" * 2_000) is None
    assert asciimath_to_latex("x+" * 5_000) is None
    assert asciimath_to_latex("|" * 1_000) is None or asciimath_to_latex("|" * 1_000)
