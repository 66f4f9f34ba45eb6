"""Pages that take a careless extractor forever, or down: each must end, with what it held or a reason.

The sizes are such that work quadratic in them runs into the timeout of the test.
"""

import random
from collections.abc import Callable

import pytest

from ops.extract import PageRejected, extract_page
from ops.extract.config import ExtractConfig
from ops.extract.nesting import MOST_ATTRIBUTES, MOST_FORMATTING, limit_nesting
from tests.fuzz.extract import check, make
from tests.fuzz.pages import soup
from tests.ops.extracted import check_offsets, latex_of

PAGES: dict[str, Callable[[], str]] = {
    "formatting opened again in every paragraph": lambda: (
        "<p>" + "".join(f"<font size={number}>" for number in range(5000)) + "</p><p>x" * 10_000 + "end"
    ),
    "end tags of nothing": lambda: "<span>" * 9999 + "</x>" * 100_000 + "end",
    "nested math": lambda: "<p>a<math>" + "<mrow><mi>x</mi>" * 50_000 + "</math><p>end",
    "nested content math": lambda: "<p>a<math>" + "<apply><plus/><ci>x</ci>" * 30_000 + "</math><p>end",
    "a wide formula": lambda: "<p><math>" + "<mi>x</mi><mo>+</mo>" * 15_000 + "</math><p>end",
    "fences without an end": lambda: "<p><math>" + "<mo>(</mo><mi>mod</mi>" * 15_000 + "</math><p>end",
    "nested KaTeX boxes": lambda: (
        "<p><span class=katex><span class=katex-html>"
        + '<span class=mfrac><span class=vlist><span style="top:-2em">' * 5000
        + "</p><p>end"
    ),
    "dollars": lambda: "<p>" + "$" * 90_000 + "<p>end",
    "opening delimiters": lambda: "<script src=MathJax.js></script><p>" + "\\( {" * 90_000 + "<p>end",
    "braces": lambda: "<script src=MathJax.js></script><p>\\(" + "{" * 3_000_000 + "<p>end",
    "backslashes": lambda: "<p>\\(" + "\\" * 1_000_000 + "\\)<p>end",
    "environments": lambda: "<p>" + "\\begin{align}" * 100_000 + "<p>end",
    "comments in a formula": lambda: "<p>\\(" + "% \n" * 200_000 + "x\\)<p>end",
    "a large table": lambda: "<table>" + ("<tr>" + "<td>1</td>" * 100 + "</tr>") * 300 + "</table><p>end",
    "scripts without an end": lambda: "MathJax <p>end</p>" + "<script>" * 200_000,
    "copies of rendered formulas": lambda: "<span class=MathJax>x</span>" * 20_000 + "<p>end",
    "attributes": lambda: "<p " + " ".join(f"a{number}=b" for number in range(100_000)) + ">end",
    "body tags": lambda: "".join(f"<body a{number}=b>" for number in range(50_000)) + "<p>end",
    "names": lambda: "<p>" + "".join(f"<x{number}></x{number}>" for number in range(100_000)) + "<p>end",
    "spaces": lambda: "<p>a" + " " * 3_000_000 + "<p>end",
    "start of tags": lambda: "<p>end</p>" + "<a " * 300_000,
    "entities that refer to each other": lambda: (
        '<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">'
        + "".join(f'<!ENTITY a{number} "&a{number - 1};&a{number - 1};">' for number in range(1, 50))
        + "]><html><body><p>&a49;</p><p>end"
    ),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", PAGES)
def test_ends_and_keeps_the_text(name: str) -> None:
    page = extract_page(PAGES[name]())
    assert "end" in page.text


@pytest.mark.parametrize(
    "tag",
    ["div", "b", "span class=katex", "ul><li", "blockquote", "table", "math><mrow", "a", "section", "font color=red"],
)
def test_deep_nesting_keeps_the_text(tag: str) -> None:
    page = extract_page(f"<body><p>start</p>{f'<{tag}>' * 100_000}deep x^2")
    assert "start" in page.text
    assert "deep" in page.text


def test_deep_nesting_with_end_tags() -> None:
    page = extract_page("<body>" + "<div>" * 50_000 + "deep" + "</div>" * 50_000 + r"<p>after \(x\)</p><pre>a</pre>")
    assert "deep" in page.text
    assert latex_of(page) == ["x"]
    assert "```\na\n```" in page.text


@pytest.mark.parametrize(
    "html",
    [
        "<p>" + "$x " * 20_000,
        "<p>" + "\\(" * 20_000,
        "<p>" + "${" * 20_000,
        "<p>" + "\\begin{align}" * 5_000,
        "<p>" + "&amp;" * 100_000,
        "<p><math>" + "<mi>x</mi>" * 20_000,
        "<p " + " ".join(f"a{i}=1" for i in range(5_000)) + ">x",
        "<script>var s = '</script>'; <p>x</p></script><p>y</p>",
        "<p title='<math>'>x &#0; &#30; &#x1e;\x00 y</p>",
        "<!-- <p>a</p> --><p>b</p><!-- unclosed <p>c</p>",
        "<table><tr><td>" * 300 + "x",
        "<ul><li>" * 300 + "x" + "<pre>y\n z</pre>",
    ],
    ids=lambda html: html[:20],
)
def test_hard_pages_end(html: str) -> None:
    page = extract_page(html)
    check_offsets(page)
    assert "\x1e" not in page.text


@pytest.mark.timeout(60)
def test_ten_thousand_formulas() -> None:
    page = extract_page("<p>" + "<math><msup><mi>x</mi><mn>2</mn></msup></math> and \\(y_1\\) " * 5000)
    assert latex_of(page) == ["x^2", "y_1"] * 5000


def test_ten_thousand_different_formulas() -> None:
    page = extract_page("<p>" + "".join(f"\\(x_{{{i}}}\\) " for i in range(10_000)))
    assert latex_of(page) == [f"x_{{{i}}}" for i in range(10_000)]
    check_offsets(page)


@pytest.mark.timeout(60)
def test_a_page_over_its_budget_is_rejected_with_the_reason() -> None:
    for html, reason in (
        ("<p>word " * 200, "too_large"),
        ("<p>" + "<br>" * 200, "too_many_nodes"),
        ("<p>" + "$x " * 60, "too_many_formulas"),
        ("<p>" + "<math><mi>x</mi></math>" * 60, "too_many_formulas"),
        ("<p>" + "\\begin{align}x\\end{align} " * 60, "too_many_formulas"),
        (
            '{"nbformat": 4, "cells": [{"cell_type": "markdown", "source": "' + "$$x " * 150 + '"}]}',
            "too_many_formulas",
        ),
    ):
        config = ExtractConfig(max_bytes=1000 if reason == "too_large" else 10_000, max_nodes=100, max_formulas=50)
        with pytest.raises(PageRejected) as caught:
            extract_page(html, config=config)
        assert caught.value.reason == reason
    with pytest.raises(PageRejected, match="too_large"):
        extract_page("<p>word word \\(x\\) " * 3_000_000)


def test_markup_where_it_means_nothing() -> None:
    page = extract_page(
        "<p title='<math><mi>z</mi></math>' data-x=\"</p><script>\">a \\(x\\) b</p>"
        '<script>var s = \'</script><p>c \\(y\\)</p><script>var t = "<p>\\(no\\)</p>";</script>'
    )
    assert latex_of(page) == ["x", "y"]


def test_nul_bytes_and_control_characters() -> None:
    page = extract_page("<p>a\x00b \\(x\x00_\x1b1\\) \x0c c</p><pre>d\x00\x0ce</pre>")
    assert latex_of(page) == ["x_1"]
    assert "\x00" not in page.text
    assert "ab" in page.text


def test_limit_nesting_leaves_usual_pages_alone() -> None:
    for html in ("<p>" * 5000, "<div>x</div>" * 4000, "<img src=a>" * 3000, "<p><b>a</b><i>b</i></p>" * 1000):
        assert limit_nesting(html, 256) == (html, 0)


def test_limit_nesting_cuts_what_nests() -> None:
    html, removed = limit_nesting("<div>" * 30_000 + "a" + "</div>" * 30_000 + "<p>b</p>", 256)
    assert removed == 2 * (30_000 - 256)
    assert html == "<div>" * 256 + "a" + "</div>" * 256 + "<p>b</p>"
    html, removed = limit_nesting("<b>" * 30_000 + "a", 256)
    assert (html, removed) == ("<b>" * MOST_FORMATTING + "a", 30_000 - MOST_FORMATTING)
    html, removed = limit_nesting("<p>" + "</x>" * 30_000, 256)
    assert (html, removed) == ("<p>", 30_000)


def test_limit_nesting_cuts_attributes() -> None:
    names = [f'a{number}="b c"' for number in range(5000)]
    html, removed = limit_nesting(f"<p>x</p><p {' '.join(names)}>y</p>", 256)
    assert removed == 5000 - MOST_ATTRIBUTES
    assert html == f"<p>x</p><p {' '.join(names[:MOST_ATTRIBUTES])}>y</p>"
    image = f'<img alt="x" src="data:{"A" * 100_000}">'
    assert limit_nesting(image, 256) == (image, 0)


@pytest.mark.timeout(120)
def test_pages_nobody_wrote() -> None:
    pages = [soup(random.Random(number), 600) for number in range(10)]
    kept = sum(check(make(7, number, pages)) is not None for number in range(150))
    assert kept > 100
