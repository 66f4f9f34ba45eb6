"""Every carrier of mathematics, one formula inline and one displayed.

A carrier is right when both formulas come out as LaTeX once, delimited, unescaped, in the right mode, with nothing left
of previews, fallback images and assistive copies.
"""

import pytest

from ops.extract import extract_page
from tests.ops.carriers import CARRIERS
from tests.ops.carriers.formula import F
from tests.ops.mathbench import loose

DIFFERENT = {
    "pandoc without mathjax": r"\alpha_{17} = b^2",
}
"""Formulas of carriers that cannot carry `F`."""


def check(head: str, body: str, expected: list[tuple[str, bool]], rest: str) -> None:
    page = extract_page(f"<!DOCTYPE html><html><head><title>T</title>{head}</head><body>{body}</body></html>")
    assert [(loose(formula.latex), formula.display) for formula in page.formulas] == [
        (loose(latex), display) for latex, display in expected
    ], page.text
    left = list(page.text)
    for formula in page.formulas:
        mark = "$$" if formula.display else "$"
        assert page.text[formula.start : formula.end] == f"{mark}{formula.latex}{mark}"
        left[formula.start : formula.end] = " " * (formula.end - formula.start)
    assert "".join(left).split() == rest.split()


@pytest.mark.parametrize("name", CARRIERS)
def test_carrier_comes_out_once_as_latex(name: str) -> None:
    head, inline, display = CARRIERS[name]
    latex = DIFFERENT.get(name, F)
    body = "<p>The first words of the article stand here.</p>"
    rest = "The first words of the article stand here."
    expected = []
    if inline is not None:
        body += f"<p>Let {inline} be small.</p>"
        rest += " Let be small."
        expected.append((latex, False))
    if display is not None:
        body += f"<div>{display}</div>"
        expected.append((latex, name != "nbconvert output"))
    check(head, body + "<p>And so it ends.</p>", expected, rest + " And so it ends.")


WORDS = "The theorem holds for every prime number that divides one of the two."
PLACES = {
    "heading": "<h2>On {}</h2>",
    "list": "<ul><li>on {}</li><li>two</li></ul>",
    "ordered list": "<ol><li><p>on {}</p></li></ol>",
    "table": "<table><tr><th>k</th><th>v</th></tr><tr><td>on {}</td><td>2</td></tr></table>",
    "quote": "<blockquote><p>on {}</p></blockquote>",
    "link": '<p>on <a href="/x">{}</a></p>',
    "caption": "<figure><img src=x.png><figcaption>on {}</figcaption></figure>",
    "emphasis": "<p><b>on <i>{}</i></b></p>",
    "definition": "<dl><dt>on {}</dt><dd>meaning</dd></dl>",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["mathjax 2 script", "parentheses and brackets", "katex", "mathml", "codecogs"])
def test_carrier_in_every_place(name: str, place: str) -> None:
    head, inline, _ = CARRIERS[name]
    assert inline is not None
    page = extract_page(f"<head>{head}</head><body><p>{WORDS}</p>{PLACES[place].format(inline)}<p>{WORDS}</p></body>")
    assert [(loose(formula.latex), formula.display) for formula in page.formulas] == [(loose(F), False)], page.text
    assert f"on ${page.formulas[0].latex}$" in page.text.replace("On ", "on ")
