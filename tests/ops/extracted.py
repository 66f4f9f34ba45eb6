"""What the tests of extraction read off a page."""

from ops.extract import Page

MATHJAX_DOLLAR = r"<script>window.MathJax = {tex: {inlineMath: [['$', '$'], ['\\(', '\\)']]}};</script>"


def latex_of(page: Page) -> list[str]:
    return [formula.latex for formula in page.formulas]


def check_offsets(page: Page) -> None:
    last = 0
    for formula in page.formulas:
        mark = "$$" if formula.display else "$"
        assert page.text[formula.start : formula.end] == f"{mark}{formula.latex}{mark}"
        assert formula.start >= last
        last = formula.end
