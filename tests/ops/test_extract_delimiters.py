"""TeX in running text: which delimiters a page means, where they hold, and what becomes of the formula."""

from ops.extract import extract_page
from tests.ops.extracted import MATHJAX_DOLLAR, check_offsets, latex_of


def test_configuration_decides_about_dollars() -> None:
    body = "<body><p>Let $x$ cost $5 or $10, then $y + 1$ holds.</p></body>"
    configured = extract_page(MATHJAX_DOLLAR + body)
    assert latex_of(configured) == ["x", "y + 1"]
    assert r"cost \$5 or \$10," in configured.text
    only_parentheses = r"<script>MathJax.Hub.Config({tex2jax: {inlineMath: [['\\(','\\)']]}});</script>"
    assert latex_of(extract_page(only_parentheses + body)) == []
    assert latex_of(extract_page(body)) == []


def test_configuration_of_katex_and_own_delimiters() -> None:
    katex = """<script>renderMathInElement(document.body, {delimiters: [
        {left: "[tex]", right: "[/tex]", display: false}, {left: "$$", right: "$$", display: true}]});</script>"""
    page = extract_page(katex + "<body><p>a [tex]x^2[/tex] b $$y$$ c</p></body>")
    assert [(formula.latex, formula.display) for formula in page.formulas] == [("x^2", False), ("y", True)]


def test_ignored_classes() -> None:
    config = """<script>window.MathJax = {"tex": {"inlineMath": [["$", "$"]]}, "options": {
        "ignoreHtmlClass": "tex2jax_ignore|document", "processHtmlClass": "math"}}</script>"""
    page = extract_page(
        config + '<body><div class="document"><p>$x$ and <span class="math">$y$</span></p></div></body>'
    )
    assert latex_of(page) == ["y"]


def test_no_formulas_from_code() -> None:
    page = extract_page(
        MATHJAX_DOLLAR + "<body><p>Run <code>echo $x$</code></p><pre><code>a = $y$ + \\(z\\)\n  b</code></pre></body>"
    )
    assert page.formulas == []
    assert page.text == "Run `echo $x$`\n\n```\na = $y$ + \\(z\\)\n  b\n```"


def test_environments() -> None:
    page = extract_page(
        r"<body><p>So \begin{align}a &amp;= b\\<br>c &amp;= \begin{cases}1\\2\end{cases}\end{align} and "
        r"\begin{verbatim}x\end{verbatim}.</p></body>"
    )
    assert len(page.formulas) == 1
    assert page.formulas[0].latex.startswith("\\begin{align}a &= b\\\\")
    assert page.formulas[0].latex.endswith("\\end{cases}\\end{align}")
    assert page.formulas[0].display


def test_formula_text_is_normalised_where_lines_have_meaning() -> None:
    page = extract_page("<ul><li>x $$a % comment\n= b$$</li></ul><p>\\(c\n\n d\\)</p><p>$$e\n\nf$$</p>")
    assert latex_of(page) == ["a = b", "c d", "e\nf"]
    check_offsets(page)


def test_superscripts_never_run_into_numbers() -> None:
    page = extract_page("<p>10<sup>29</sup> and x<sup>2</sup>, H<sub>2</sub>O, a<sub>ij</sub>, the 5<sup>th</sup>, "
                        "see<sup><a href='#1'>3</a></sup></p>")  # fmt: skip
    assert page.text == "10^{29} and x^2, H_2O, a_{ij}, the 5th, see[3]"
