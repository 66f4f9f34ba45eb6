"""Macros that pages define, written out in their formulas."""

import pytest

from ops.extract import extract_page
from ops.extract.macros import Macro, define, expand, read_macros


def formulas(html: str) -> list[str]:
    return [formula.latex for formula in extract_page(html).formulas]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            r'MathJax = {tex: {macros: {RR: "\\mathbb{R}", bold: ["\\boldsymbol{#1}", 1], "eps": "\\varepsilon",}}}',
            {"RR": Macro(r"\mathbb{R}"), "bold": Macro(r"\boldsymbol{#1}", 1), "eps": Macro(r"\varepsilon")},
        ),
        (
            r"""MathJax.Hub.Config({TeX: { Macros: { // ours
              R: '{\\bf R}', /* two */ op: ['\\operatorname{#1}', 1], opt: ["#1+#2", 2, "d"] } }})""",
            {"R": Macro(r"{\bf R}"), "op": Macro(r"\operatorname{#1}", 1), "opt": Macro("#1+#2", 2, "d")},
        ),
        (
            r'renderMathInElement(document.body, {macros: {"\\RR": "\\mathbb{R}", "\\f": "#1f(#2)"}})',
            {"RR": Macro(r"\mathbb{R}"), "f": Macro("#1f(#2)", 2)},
        ),
        (r"x = {macros: {a: {b: 1}, c: 'd', e: function() {}}}", {"c": Macro("d")}),
        ("macros: 5", {}),
    ],
)
def test_configuration(script: str, expected: dict[str, Macro]) -> None:
    assert read_macros(script) == expected


@pytest.mark.parametrize(
    ("latex", "macros", "rest"),
    [
        (r"\newcommand{\R}{\mathbb{R}} \R", {"R": Macro(r"\mathbb{R}")}, r"\R"),
        (r"\def\ip#1#2{\langle #1,#2\rangle}", {"ip": Macro(r"\langle #1,#2\rangle", 2)}, ""),
        (r"\renewcommand*\n[2][k]{#1_{#2}}", {"n": Macro("#1_{#2}", 2, "k")}, ""),
        (r"\DeclareMathOperator*{\argmin}{arg\,min}", {"argmin": Macro(r"\operatorname*{arg\,min}")}, ""),
        (r"\let\eps=\varepsilon % comment", {"eps": Macro(r"\varepsilon", final=True)}, ""),
        (r"\newcommand{\broken}{", {}, r"\newcommand{\broken}{"),
    ],
)
def test_definitions(latex: str, macros: dict[str, Macro], rest: str) -> None:
    found: dict[str, Macro] = {}
    assert define(latex, found) == rest
    assert found == macros


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"x\in\R^n", r"x\in\mathbb{R}^n"),
        (r"\R x", r"\mathbb{R} x"),
        (r"\ip{u}{\R}", r"\langle u,\mathbb{R}\rangle"),
        (r"\ip uv", r"\langle u,v\rangle"),
        (r"\e x", r"\varepsilon x"),
        (r"\e{}x", r"\varepsilon{}x"),
        (r"\n{3}+\n[j]{4}", r"k_{3}+j_{4}"),
        (r"\Re \Rx \\R", r"\Re \Rx \\R"),
        (r"\ip{u}", r"\ip{u}"),
        (r"\loop", r"\loop"),
        (r"\grow", r"\grow"),
    ],
)
def test_expansion(latex: str, expected: str) -> None:
    macros = {
        "R": Macro(r"\mathbb{R}"),
        "ip": Macro(r"\langle #1,#2\rangle", 2),
        "e": Macro(r"\varepsilon"),
        "n": Macro("#1_{#2}", 2, "k"),
        "loop": Macro(r"\loop"),
        "grow": Macro(r"\grow\grow"),
    }
    assert expand(latex, macros) == expected


def test_definitions_hold_from_where_they_stand_and_are_no_formulas() -> None:
    assert formulas(
        r"""<body><p>\(\R\)</p><div style="display:none">\(\newcommand{\R}{\mathbb{R}}\)</div>
        <p>Then \(\R\) and $$\begin{aligned}\R\end{aligned}$$
        \(\def\R{r}\R\) or <script type="math/tex">\R</script></p>"""
    ) == [r"\R", r"\mathbb{R}", r"\begin{aligned}\mathbb{R}\end{aligned}", "r", "r"]


def test_a_macro_over_a_command_that_was_saved() -> None:
    assert formulas(
        r"<p>\(\let\oldvec\vec \renewcommand{\vec}[1]{\oldvec{\mathbf{#1}}}\) words \(\vec{x}+\vec{y}\)</p>"
    ) == [r"\vec{\mathbf{x}}+\vec{\mathbf{y}}"]


def test_configured_macros_reach_every_carrier() -> None:
    script = r'<script>window.MathJax = {tex: {macros: {RR: "\\mathbb{R}"}}}</script>'
    assert formulas(
        script + r'<p>\(\RR\) or <span class="math">\RR</span> <math alttext="\RR^2"><mi>R</mi></math>'
        r' <img class="math" alt="\RR^3"></p>'
    ) == [r"\mathbb{R}", r"\mathbb{R}", r"\mathbb{R}^2", r"\mathbb{R}^3"]
