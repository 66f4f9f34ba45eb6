"""Documents that are not HTML, the page's own metadata, and the command line."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.errors import InputError
from ops.extract import ExtractConfig, PageRejected, extract_page
from ops.extract.__main__ import main


def notebook(*cells: dict[str, Any], **metadata: Any) -> str:
    return json.dumps({"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def markdown(*lines: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": list(lines)}


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": list(outputs), "execution_count": 1}


PYTHON = {"language_info": {"name": "python"}}


def test_notebook() -> None:
    image = {"output_type": "display_data", "data": {"image/png": "iVBOR", "text/plain": "<Figure size 640x480>"}}
    latex = {"output_type": "execute_result", "data": {"text/latex": ["$\\displaystyle x^{2}$"], "text/plain": "x**2"}}
    table = {"output_type": "execute_result", "data": {"text/html": "<table></table>", "text/plain": "   a\n0  1"}}
    page = extract_page(
        notebook(
            markdown("# Squares\n", "Let $x$ cost \\$5, or $7 and $8.\n", "\n", "$$\n", "x^2\n", "$$\n"),
            markdown("Use `$HOME`:\n\n```sh\necho $HOME $x$\n```\n<img src='a.png'/>![plot](attachment:a.png)"),
            code(
                "def f(x):\n    return x**2\n", {"output_type": "stream", "text": ["4\n", "9\n"]}, image, latex, table
            ),
            {"cell_type": "raw", "source": "raw $y_1$", "metadata": {}},
            **PYTHON,
        )
    )
    assert page.kind == "notebook"
    assert page.title == "Squares"
    assert page.text == (
        "# Squares\nLet $x$ cost \\$5, or \\$7 and \\$8.\n\n$$x^2$$\n\nUse `$HOME`:\n\n```sh\necho $HOME $x$\n```\n\n"
        "```python\ndef f(x):\n    return x**2\n```\n\n```\n4\n9\n```\n\n$\\displaystyle x^{2}$\n\n"
        "```\n   a\n0  1\n```\n\nraw $y_1$"
    )
    assert [(found.latex, found.display) for found in page.formulas] == [
        ("x", False), ("x^2", True), ("\\displaystyle x^{2}", False), ("y_1", False),
    ]  # fmt: skip
    for found in page.formulas:
        mark = "$$" if found.display else "$"
        assert page.text[found.start : found.end] == f"{mark}{found.latex}{mark}"
    assert page.counters["code_blocks"] == 4


def test_old_notebook() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Sum"]},
        {"cell_type": "code", "language": "r", "input": "1+1", "outputs": [{"output_type": "pyout", "text": "2"}]},
    ]
    page = extract_page(json.dumps({"worksheets": [{"cells": cells}], "metadata": {}, "nbformat": 3}))
    assert page.text == "## Sum\n\n```r\n1+1\n```\n\n```\n2\n```"


@pytest.mark.parametrize("mime", ["application/json", "application/x-ipynb+json", "text/plain", None])
def test_notebook_by_any_type(mime: str | None) -> None:
    assert extract_page(notebook(markdown("$x$")).encode(), content_type=mime).text == "$x$"


@pytest.mark.parametrize(
    "broken", ['{"a": 1}', "[1, 2]", '{"nbformat": 4, "cell_type"', '{"nbformat": 4, "cells": "cell_type"}']
)
def test_json_that_is_no_notebook(broken: str) -> None:
    with pytest.raises(PageRejected, match="not_html"):
        extract_page(broken, content_type="application/json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["cells", "source", "outputs", "cell_type", "data", "text", "metadata"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_odd_notebooks_are_read_or_rejected(cells: object, metadata: object) -> None:
    text = json.dumps({"nbformat": 4, "cells": cells, "metadata": metadata, "cell_type": "markdown"})
    try:
        kind = extract_page(text).kind
    except PageRejected as error:
        kind = error.reason
    assert kind in ("notebook", "not_html")


def test_markdown_text_stays_as_it_is() -> None:
    source = (
        "# Title\r\n\r\nLet $x$ and \\(y\\), or $5 and $6.\r\n\r\n- one\r\n    - two `$a$`\r\n\r\n\r\n"
        "~~~\r\n$b$\r\n~~~\r\n\r\n\\begin{align}\r\na &= b\r\n\\end{align}\r\n"
    )
    page = extract_page(source.encode(), content_type="text/markdown; charset=utf-8")
    assert page.kind == "text"
    assert page.text == (
        "# Title\n\nLet $x$ and $y$, or \\$5 and \\$6.\n\n- one\n    - two `$a$`\n\n~~~\n$b$\n~~~\n\n"
        "$$\\begin{align}\na &= b\n\\end{align}$$"
    )
    assert [found.latex for found in page.formulas] == ["x", "y", "\\begin{align}\na &= b\n\\end{align}"]


def test_text_by_header_or_suffix_and_html_by_its_start() -> None:
    assert extract_page("a < b", content_type="text/plain").text == "a < b"
    assert extract_page(r"\section{A} $x$", url="http://x/paper.tex?v=1").kind == "text"
    assert extract_page("<!DOCTYPE html><p>a", content_type="text/plain").text == "a"
    with pytest.raises(PageRejected, match="control characters"):
        extract_page(bytes(range(1, 32)) * 20, content_type="text/plain")
    with pytest.raises(PageRejected, match="not_html"):
        extract_page("no tag at all")
    with pytest.raises(PageRejected, match="image/png"):
        extract_page(b"x", content_type="image/png")


@given(st.text(alphabet="$ab5 \n`\\", max_size=40))
def test_no_character_of_a_text_is_lost(text: str) -> None:
    page = extract_page(text, content_type="text/plain")
    kept = [letter for letter in page.text if letter in "ab5"]
    assert kept == [letter for letter in text if letter in "ab5"]
    for found in page.formulas:
        mark = "$$" if found.display else "$"
        assert page.text[found.start : found.end] == f"{mark}{found.latex}{mark}"


XHTML = """<?xml version="1.0" encoding="UTF-8"?>
<h:html xmlns:h="http://www.w3.org/1999/xhtml" xmlns:q="http://www.w3.org/1998/Math/MathML" xml:lang="en">
<h:head><h:title>T</h:title><h:script src="a.js"/></h:head>
<h:body><h:div/><h:p>One<h:br/>two <![CDATA[a < b & c]]> &#233;</h:p>
<q:math><q:mi>x</q:mi><q:mo>+</q:mo><q:mspace/><q:mn>1</q:mn></q:math><h:p>end</h:p></h:body></h:html>"""


def test_xhtml_as_xml() -> None:
    page = extract_page(XHTML.encode(), content_type="application/xhtml+xml")
    assert page.title == "T"
    assert page.text.startswith("One\ntwo a < b & c é\n")
    assert page.text.endswith("\nend")
    assert [found.latex.replace(" ", "") for found in page.formulas] == ["x+1"]
    assert extract_page(XHTML).text == page.text
    served_as_html = XHTML.replace("h:", "").replace(":h", "")
    assert "end" not in extract_page(served_as_html, content_type="text/html").text  # browsers read on in the script


def test_metadata() -> None:
    head = (
        '<html lang="de-AT"><head><link rel="canonical" href="http://x/a"><meta name="author" content="Emmy N.">'
        '<meta property="article:published_time" content="2020-05-03T10:00:00Z"></head><p>a'
    )
    assert extract_page(head).metadata == {
        "author": "Emmy N.", "canonical_url": "http://x/a", "date": "2020-05-03T10:00:00Z", "language": "de-AT",
    }  # fmt: skip
    linked = {
        "@graph": [{"@type": "WebSite"}, {"datePublished": "2019-01-02", "author": [{"name": "A"}, {"name": "B"}]}]
    }
    page = extract_page(f'<head><script type="application/ld+json">{json.dumps(linked)}</script></head><p>a')
    assert page.metadata == {"author": "A, B", "date": "2019-01-02"}
    assert extract_page('<head><script type="application/ld+json">{broken</script></head><p>a').metadata == {}


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "squares.ipynb"
    path.write_text(notebook(markdown("# Squares\n", "$x$"), code("x"), **PYTHON))
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == "# Squares\n$x$\n\n```python\nx\n```\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Let $x$ be.")))
    assert main(["-", "--content-type", "text/plain", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert (page["kind"], page["text"], page["metadata"]) == ("text", "Let $x$ be.", {})
    assert page["formulas"][0]["carrier"] == "tex-dollar"


def test_renderer_must_be_known() -> None:
    with pytest.raises(InputError, match="renderer"):
        ExtractConfig(renderer="links")
    with pytest.raises(InputError, match="lynx_timeout"):
        ExtractConfig(lynx_timeout=0)


def test_lynx_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="lynx is not installed"):
        extract_page("<p>a", config=ExtractConfig(renderer="lynx"))


def test_lynx_that_takes_too_long_drops_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "lynx"
    script.write_text("#!/bin/sh\nexec sleep 20\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(PageRejected, match="lynx_failed"):
        extract_page("<p>a", config=ExtractConfig(renderer="lynx", lynx_timeout=0.2))
    script.write_text("#!/bin/sh\necho no >&2\nexit 3\n")
    with pytest.raises(PageRejected, match="exit status 3: no"):
        extract_page("<p>a", config=ExtractConfig(renderer="lynx"))


@pytest.mark.skipif(shutil.which("lynx") is None, reason="lynx is not installed")
def test_lynx_renders() -> None:
    page = extract_page(
        r"<title>T</title><nav>Menu</nav><p>So \(x^2\) it is.</p><script type='math/tex'>lost</script>",
        config=ExtractConfig(renderer="lynx"),
    )
    assert "Menu" in page.text
    assert [found.latex for found in page.formulas] == ["x^2"]
