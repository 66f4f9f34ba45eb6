"""Which formulas are LaTeX."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.extract.validity import REASONS, check_latex

VALID = [
    r"x",
    r"x^2_1 + x'_1 + x''^2 + {x^2}^3",
    r"\{ a \} \% \& \# \$ \_",
    r"\frac12 + \frac{a}{b} + \sqrt[3]{x}",
    r"x^\frac12_3 + x^\mathrm{T}_i + x^\alpha{b}^2",
    r"\left( \frac{a}{b} \middle| c \right] + \left. x \right\} + \left\{ x \right.",
    r"\begin{align*} a &= b \\ c &= d \end{align*}",
    r"\begin{array}{c|c} a & {b} \\ \hline c & \text{a \& b} \end{array}",
    r"\text{if $x_1$ and \(y\) or {braces}}",
    r"\operatorname*{arg\,max}_x \tag*{(1)}",
    "a % a comment with { and \\begin{x}\n + b",
    r"\verb|{$&| + 1",
    r"\matrix{a & b \cr c & d}",
    r"\undefinedcommand{x}{y}",
    r"\sum\limits_{i}^{n}",
    r"a \\[2pt] b",
    "50\\%",
]
INVALID = {
    "": "empty",
    " \n": "empty",
    "{x": "unbalanced_braces",
    "x}": "unbalanced_braces",
    r"\{x}": "unbalanced_braces",
    r"\frac{a}{b": "unbalanced_braces",
    r"\begin{cases} a": "unbalanced_environment",
    r"a \end{cases}": "unbalanced_environment",
    r"\begin{cases} a \end{matrix}": "unbalanced_environment",
    r"\left( x": "unbalanced_left_right",
    r"x \right)": "unbalanced_left_right",
    r"\begin{aligned} \left( a \\ b \right) \end{aligned}": "unbalanced_left_right",
    r"\begin{aligned} \left( a & b \right) \end{aligned}": "unbalanced_left_right",
    r"{ \left( x } \right)": "unbalanced_left_right",
    "x^1^2": "double_script",
    "x_1_2": "double_script",
    "x^2'": "double_script",
    "x'_1'": "double_script",
    r"x^\mathrm{a}^b": "double_script",
    "x^": "missing_argument",
    "{x_}": "missing_argument",
    "x^_2": "missing_argument",
    r"\frac{a}": "missing_argument",
    r"{\mathbb}": "missing_argument",
    r"\left( x \right": "missing_argument",
    r"x_\, y": "missing_argument",
    "a & b": "stray_alignment",
    "a $ b": "stray_delimiter",
    r"a \) b": "stray_delimiter",
    r"\text{a $b}": "stray_delimiter",
    "a # b": "not_latex",
    "x \\": "not_latex",
    "a <span>b</span>": "not_latex",
    "a &lt; b": "not_latex",
    "this is only some text that was taken for one long formula by somebody who did not look twice": "not_latex",
}


@pytest.mark.parametrize("latex", VALID)
def test_valid(latex: str) -> None:
    assert check_latex(latex) is None


@pytest.mark.parametrize("latex", INVALID)
def test_invalid(latex: str) -> None:
    assert check_latex(latex) == INVALID[latex]


_FORMULAS = st.recursive(
    st.sampled_from(["x", "12", r"\alpha", r"\{", r"\%", "+", r"\,", r"\text{a $b$ c}", "% {\n"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(" ".join),
        inner.map(lambda latex: "{" + latex + "}"),
        st.tuples(inner, inner).map(lambda pair: f"\\frac{{{pair[0]}}}{{{pair[1]}}}"),
        st.tuples(inner, inner).map(lambda pair: f"{{{pair[0]}}}_{{{pair[1]}}}^{{{pair[1]}}}"),
        inner.map(lambda latex: f"\\left( {latex} \\right]"),
        st.tuples(inner, inner).map(lambda pair: "\\begin{cases} " + " & ".join(pair) + " \\\\ \\end{cases}"),
    ),
    max_leaves=12,
)


@given(_FORMULAS)
def test_what_is_built_balanced_is_valid(latex: str) -> None:
    assert check_latex(f"x {latex}") is None


@given(
    _FORMULAS, st.sampled_from(["{", "}", "\\left(", "\\right)", "\\begin{cases}", "\\end{cases}", "$"]), st.booleans()
)
def test_one_unmatched_token_is_invalid(latex: str, token: str, behind: bool) -> None:
    assert check_latex(f"x {latex} {token}" if behind else f"{token} x {latex}") is not None


@given(st.text(alphabet="ax12{}$&^_%'\\~#\n ()[]", max_size=60))
def test_any_text_gets_an_answer(latex: str) -> None:
    assert check_latex(latex) in (None, *REASONS)
