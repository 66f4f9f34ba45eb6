"""Docstrings found, rendered, carried and edited, against independent readings."""

import html
import inspect
import statistics
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from ops.sample_crawl.config import CARRIERS, SampleCrawlConfig
from ops.sample_crawl.content import edit
from ops.sample_crawl.formulas import Carrier
from ops.sample_crawl.rst import render, render_rst
from ops.sample_crawl.sources import Docstring, PageSource, _docstrings, collect, has_math

TEX = st.text(alphabet="ab12+-=<>&^_{}()\\ \"'", min_size=1, max_size=30).filter(
    lambda text: text.strip() and "</" not in text and "<!" not in text
)


def page(package: str, text: str) -> PageSource:
    docstring = Docstring(qualname="f", kind="function", signature="x", text=text)
    return PageSource(package=package, module=f"{package}.m", name="f", docstrings=(docstring,))


def shown(markup: str) -> str:
    body = LexborHTMLParser(markup).body
    assert body is not None
    return " ".join(body.text(separator=" ").split())


class TexReader(HTMLParser):
    """Reads the TeX out of any carrier with the standard library's parser."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.within = ""
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within = tag
        values = dict(attrs)
        if tag == "img":
            self.found.append(values["alt"] or "")

    def handle_data(self, data: str) -> None:
        if self.within == "script":
            self.found.append(data.removeprefix("% <![CDATA[\n").removesuffix(" %]]>"))
        elif self.within == "annotation":
            self.found.append(data)
        elif data.strip().startswith(("\\(", "\\[")):
            self.found.append(data.strip()[2:-2])


@pytest.mark.parametrize("name", [name for name in CARRIERS if name != "mathml"])
@given(tex=TEX, display=st.booleans())
def test_carriers_hold_the_tex_exactly(name: str, tex: str, display: bool) -> None:
    reader = TexReader()
    reader.feed(Carrier(name=name).write(tex, display=display))
    reader.close()
    tex = tex.strip()
    if display and "\\\\" in tex:
        tex = f"\\begin{{aligned}}{tex}\\end{{aligned}}"
    assert reader.found == [tex]


def test_presentation_mathml_has_no_tex() -> None:
    carrier = Carrier(name="mathml")
    markup = carrier.write(r"\frac{a}{b}", display=True)
    assert LexborHTMLParser(markup).css_first("math[display=block] mfrac") is not None
    assert "frac{" not in markup
    assert (carrier.num_formulas, carrier.num_fallback) == (1, 0)


@pytest.mark.parametrize("name", ["mathml", "mathml_annotation", "katex"])
def test_what_the_converter_refuses_is_counted_and_kept_as_tex(name: str) -> None:
    carrier = Carrier(name=name)
    assert r"\(\unknowncommand{x}\)" in carrier.write(r"\unknowncommand{x}", display=False)
    assert (carrier.num_formulas, carrier.num_fallback) == (1, 1)


def test_markup_that_docutils_does_not_know_keeps_its_text(capfd: pytest.CaptureFixture[str]) -> None:
    text = """
Uses :func:`~scipy.linalg.svd`, :strange-role:`some text` and :ref:`a title <target>`; `name` and missing_.

.. versionadded:: 1.7.0

.. deprecated:: 2.0
   Use :math:`x` instead.

.. someunknown:: an argument
   :option: hidden

   And its content.

.. plot::
   :include-source:

   call(argument)

.. math:: e^{i\\pi}
   :label: euler
"""
    markup = render_rst(text, Carrier(name="mathjax_delimiters"), backtick_math=False)
    seen = shown(markup)
    for wanted in (
        "svd",
        "some text",
        "a title",
        "name and missing",
        "Added in version 1.7.0",
        r"Deprecated since version 2.0: Use \(x\) instead.",
        "an argument",
        "And its content.",
        "call(argument)",
        r"\[e^{i\pi}\]",
    ):
        assert wanted in seen
    assert "hidden" not in seen
    assert "scipy.linalg" not in seen
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_numpydoc_sections_become_fields() -> None:
    text = """Solve it.

Parameters
----------
x : array_like, shape (n,)
    The :math:`x` of the equation.

Returns
-------
float
    The root.

See Also
--------
other : does other things

Examples
--------
>>> if f(1) < 2:
...     print(1 & 2)
"""
    tree = LexborHTMLParser(render(page("scipy", text), Carrier(name="mathjax_delimiters")))
    assert [node.text().rstrip(":") for node in tree.css("dl.field-list > dt")] == ["Parameters", "Returns"]
    assert "does other things" in shown(tree.html or "")
    code = tree.css_first("pre")
    assert code is not None
    assert code.text().strip() == ">>> if f(1) < 2:\n...     print(1 & 2)"


@pytest.mark.parametrize(("package", "formulas"), [("sympy", 3), ("mpmath", 3), ("scipy", 1)])
def test_backticks_and_dollars_are_formulas_where_the_package_says_so(package: str, formulas: int) -> None:
    source = page(package, "Roots `x_1` and $x_2$ of :math:`x^2 = 2`, by ``f(x)``.\n\n>>> f('$HOME and $PATH')")
    carrier = Carrier(name="mathjax_delimiters")
    markup = render(source, carrier)
    assert carrier.num_formulas == formulas
    assert has_math(source)
    assert "$HOME and $PATH" in html.unescape(markup)


def test_docstrings_are_those_of_the_imported_module() -> None:
    found = {docstring.qualname: docstring for docstring in _docstrings(Path(statistics.__file__))}
    assert found[""].text == inspect.getdoc(statistics)
    documented = {
        name: inspect.getdoc(value)
        for name, value in vars(statistics).items()
        if inspect.isfunction(value) and value.__module__ == "statistics" and not name.startswith("_")
    }
    documented = {name: text for name, text in documented.items() if text and len(text) >= 80}
    assert len(documented) > 10
    assert {name: found[name].text for name in documented} == documented
    method = "NormalDist.samples"
    assert method not in found or found[method].text == inspect.getdoc(statistics.NormalDist.samples)


def test_collecting_prefers_formulas_and_repeats_itself() -> None:
    config = SampleCrawlConfig()
    pages = collect(config, "scipy", 30)
    assert len(pages) == 30
    assert all(map(has_math, pages))
    assert pages == collect(config, "scipy", 30)
    assert len({page.key for page in pages}) == 30
    texts = [docstring.text for page in pages for docstring in page.docstrings]
    assert len(set(texts)) == len(texts)
    assert all(page.num_chars >= config.page_chars // 2 for page in pages)


BODY = r"""<dl><dt>f(given)</dt><dd><p>Numbers which satisfy \(alpha &lt; beta\) follow from several general theorems
about sequences and their limits.</p><pre>&gt;&gt;&gt; code stays exactly where it was and is as it was before</pre>
<p>Another paragraph says something about convergence of iterations towards fixed points.</p></dd></dl>"""


@given(seed=st.integers(0, 2**32))
def test_edits_change_words_alone(seed: int) -> None:
    edited = edit(BODY, seed)
    assert edited == edit(BODY, seed)
    body, _, note = edited.rpartition("\n<p>")
    assert "Reviewed" in note
    assert body.split("<pre>")[1].split("</pre>")[0] == BODY.split("<pre>")[1].split("</pre>")[0]
    assert r"\(alpha &lt; beta\)" in body
    before, after = shown(BODY).split(), shown(body).split()
    assert len(before) == len(after)
    changed = sum(a != b for a, b in zip(before, after, strict=True))
    assert changed <= 1
