"""A formula that a page holds several times comes out once; formulas keep to the notation around them."""

import pytest

from ops.extract import extract_page
from tests.ops.mathbench import delimited

RENDERED = (
    '<span class="katex"><math><semantics><mi>x</mi><annotation encoding="application/x-tex">{}</annotation>'
    "</semantics></math></span>"
)


def formulas(html: str) -> list[tuple[str, bool]]:
    return [
        (formula.latex, formula.display) for formula in extract_page(f"<body><p>Words first.</p>{html}</body>").formulas
    ]


@pytest.mark.parametrize(
    "markup",
    [
        r'<p>So <span style="display:none">\(x_{1}\)</span>' + RENDERED.format("x_{1}") + " holds.</p>",
        r'<p>So <span style="display: none" class="tex">x_{1}</span>' + RENDERED.format("x_1") + " holds.</p>",
        "<p>So " + RENDERED.format("x_{1}") + r'<span class="tex" hidden>x_{1}</span> holds.</p>',
        "<p>So " + RENDERED.format("x_{1}") + '<img class="math" alt="x_1" src="a.png"> holds.</p>',
        '<p>So <math alttext="x_{1}"><mi>x</mi></math> <img class="tex" alt="$x_{1}$" src="a.png"> holds.</p>',
        r'<p>So <img src="https://latex.codecogs.com/png.latex?x_{1}"><noscript>'
        r'<img src="https://latex.codecogs.com/png.latex?x_{1}"></noscript> holds.</p>',
        r'<p>So <span class="MathJax_Preview">x_{1}</span><script type="math/tex">x_{1}</script> holds.</p>',
        r'<p>So <span class="arithmatex"><span class="MathJax_Preview"><span class="MJXp-math">x1</span></span>'
        r'<script type="math/tex">x_{1}</script></span> holds.</p>',
    ],
)
def test_one_of_several_copies(markup: str) -> None:
    found = formulas(markup)
    assert len(found) == 1
    assert found[0][0].replace("{", "").replace("}", "") == "x_1"


def test_a_formula_written_twice_stays_twice() -> None:
    assert (
        formulas(r"<p>\(x_1\) \(x_1\), \(x_1\) and <math alttext='x_1'><mi>x</mi></math></p>") == [("x_1", False)] * 4
    )


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        ("|x|", r"\vert x\vert"),
        (r"\|x\|", r"\Vert x\Vert"),
        (r"\left|x\right|", r"\left\vert x\right\vert"),
        (r"a\\|b", r"a\\\vert b"),
        (r"\begin{array}{c|c}a&amp;b\end{array}", r"\begin{array}{cc}a&b\end{array}"),
    ],
)
def test_a_bar_in_a_formula_does_not_end_a_cell(latex: str, expected: str) -> None:
    page = extract_page(
        f"<table><tr><th>a|b</th><th>c</th></tr><tr><td>one \\({latex}\\)</td><td>two</td></tr></table>"
        f"<p>\\({latex}\\)</p>"
    )
    cell, running = page.formulas
    assert cell.latex.strip() == expected
    assert running.latex == latex.replace("&amp;", "&")
    assert page.text[cell.start : cell.end] == f"${cell.latex}$"
    row = next(line for line in page.text.splitlines() if "one" in line)
    assert row.count("|") == 3


def test_multi_line_formulas_with_numbers() -> None:
    assert formulas(
        r"""<p>$$\begin{align} a &amp;= b \label{e1} \\ c &amp;= d \tag{2} \end{align}$$ and
        \begin{multline*} x \\ + y \end{multline*} by \eqref{e1}</p>"""
    ) == [
        ("\\begin{align} a &= b \\label{e1} \\\\ c &= d \\tag{2} \\end{align}", True),
        ("\\begin{multline*} x \\\\ + y \\end{multline*}", True),
    ]


def test_what_shows_nothing_is_no_formula() -> None:
    page = extract_page(r"<p>Words $\begingroup$ and \(\require{ams}\) \(% comment\) \(\ \ \) end \(y\).</p>")
    assert [formula.latex for formula in page.formulas] == ["y"]
    assert "begingroup" not in page.text


def test_a_line_break_at_the_end_does_not_swallow_the_delimiter() -> None:
    page = extract_page(
        r'<p>Words</p><img class="math" alt="\begin{matrix}a\\ b\end{matrix} \\"><p>\(\alpha\ \) more</p>'
    )
    assert len(delimited(page.text)) == 2


def test_a_listing_of_nothing_but_a_formula_is_no_listing() -> None:
    page = extract_page(
        '<p>Words</p><pre><code class="language-math">a\n+b_1</code></pre><pre><code>a+b_1</code></pre>'
    )
    assert page.text == "Words\n\n$$a\n+b_1$$\n\n```\na+b_1\n```"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("10<sup>29</sup>", "10^{29}"),
        ("x<sup>2<sup>n</sup></sup>", "x^{2^n}"),
        ("a<sub>i<sub>j</sub></sub>", "a_{i_j}"),
        ("10<sup>&minus;3</sup>", "10^{−3}"),
        ("CO<sub>2</sub>", "CO_2"),
        ("x<sup>a<sub>1</sub></sup><sub>k</sub>", "x^{a_1}_k"),
        ("2<sup><i>n</i></sup>", "2^n"),
        (r"2<sup>\(n\)</sup>", "2^$n$"),
        (r"2<sub>k\(n\)</sub>", "2_{k$n$}"),
    ],
)
def test_raised_and_lowered_text(markup: str, text: str) -> None:
    assert extract_page(f"<p>Words, {markup}, words.</p>").text == f"Words, {text}, words."
