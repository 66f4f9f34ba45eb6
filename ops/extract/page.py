"""One page: bytes in, text with formulas out."""

import gc
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser

from ops.errors import InputError
from ops.extract import (
    carriers,  # noqa: F401  (registers them)
    notebook,
    xml_pages,
)
from ops.extract.config import ExtractConfig
from ops.extract.delimiters import read_rules
from ops.extract.encoding import Decoded, decode
from ops.extract.lynx import LynxFailed, dump
from ops.extract.main_content import select_main
from ops.extract.metadata import read_metadata
from ops.extract.nesting import limit_nesting
from ops.extract.plain_text import clean_text, usual_rules, write_text
from ops.extract.render import Renderer
from ops.extract.tree import OverBudget, build_tree
from ops.extract.words import words
from ops.extract.writer import PlacedFormula, Writer

HTML_TYPES = ("text/html", "application/xhtml+xml", "application/xml", "text/xml", "application/html")
TEXT_TYPES = (
    "text/plain",
    "text/markdown",
    "text/x-markdown",
    "text/x-rst",
    "text/prs.fallenstein.rst",
    "text/x-tex",
    "text/x-latex",
    "application/x-tex",
    "application/x-latex",
)
_TEXT_SUFFIXES = (".txt", ".md", ".markdown", ".rst", ".tex", ".text", ".rmd", ".qmd")
_SIGNATURES = (
    b"%PDF",
    b"%!PS",
    b"\x89PNG",
    b"GIF8",
    b"\xff\xd8\xff",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"Rar!",
    b"\x7fELF",
    b"OggS",
    b"ID3",
)
_ELEMENTS = words(
    "a abbr address article aside b big blockquote body br button caption center cite code dd del details dfn div dl "
    "dt em fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe img input ins "
    "kbd label li link main mark math meta nav noscript ol option p pre q s samp script section select small span "
    "strike strong style sub summary sup svg table tbody td textarea tfoot th thead time title tr tt u ul var wbr"
)
_MARKUP = re.compile(
    rf"<\s*(?:!doctype|(?:{'|'.join(sorted(_ELEMENTS, key=len, reverse=True))}|m[a-z]*:math|[a-z]+-[a-z-]+)(?![\w:-]))",
    re.IGNORECASE,
)
_DOCUMENT = re.compile(r"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_FORUM = re.compile(
    r"(?:^|[/.?&_-])(?:forums?|topics?|threads?|discuss(?:ions?)?|questions?|view(?:topic|thread)|showthread|bbs|boards?|"
    r"community|answers?|qa|[dtr])(?=[/.?=_-])"
)
SNIFF_CHARS = 65_536
MOST_UNPRINTABLE = 0.01
"""A text with a larger share of control characters at its start is some other kind of file."""


class PageRejected(InputError):
    """A page that extraction does not turn into text; `reason` is one of few."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class Page:
    """What was extracted from a page."""

    title: str | None
    text: str
    """Markdown-like; formulas are `$...$` and `$$...$$`, other dollar signs outside code are `\\$`."""
    formulas: list[PlacedFormula]
    """In the order of the text; `text[start:end]` is the formula with its delimiters."""
    encoding: str
    num_replaced: int
    kind: str = "html"
    """`html`, `notebook` or `text`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """`language`, `canonical_url`, `author`, `date`: those that the page states, as it states them."""
    counters: Mapping[str, int] = field(default_factory=dict)


def extract_page(
    html: bytes | str, url: str | None = None, content_type: str | None = None, *, config: ExtractConfig | None = None
) -> Page:
    """Turn a page into text with its formulas as LaTeX.

    Args:
        html: the page as fetched, or as text: HTML, XHTML, a Jupyter notebook, Markdown, TeX or plain text.
        url: where it is from; for error messages, and to tell a discussion and (by its suffix) a text.
        content_type: the HTTP header, with or without a charset. Without it the kind of page is sniffed.
        config: the bounds of one page.

    Raises:
        PageRejected: `not_html` (by header or by its bytes), `too_large`, `too_many_nodes`, `too_many_formulas`, and
            with lynx as the renderer `lynx_failed`.
        InputError: when lynx is to render and is not installed.
    """
    # A page's tree has no cycles, so that looking for them while it grows is a seventh of the time for nothing.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _extract(html, url, content_type, config or ExtractConfig())
    finally:
        if collecting:
            gc.enable()


def _extract(html: bytes | str, url: str | None, content_type: str | None, config: ExtractConfig) -> Page:
    where = url or "page"
    if len(html) > config.max_bytes:
        raise PageRejected("too_large", f"{where}: {len(html)} bytes, the budget is {config.max_bytes}")
    mime = (content_type or "").partition(";")[0].strip().lower()
    if mime and mime not in HTML_TYPES and mime not in TEXT_TYPES and mime not in notebook.MIME_TYPES:
        raise PageRejected("not_html", f"{where}: {mime}")
    if isinstance(html, bytes) and html.startswith(_SIGNATURES):
        raise PageRejected("not_html", f"{where}: starts with {html[:8]!r}")
    decoded = decode(html, content_type)
    kind = _kind(decoded.text, mime, where)
    try:
        if kind == "notebook":
            return _notebook_page(decoded, where, config)
        if kind == "text":
            return _text_page(decoded, where, config)
        return _html_page(decoded, mime, url, config)
    except OverBudget as error:
        raise PageRejected(error.reason, f"{where}: {error}") from error


def _kind(text: str, mime: str, where: str) -> str:
    if mime not in HTML_TYPES and notebook.is_notebook(text):
        return "notebook"
    if mime in notebook.MIME_TYPES:
        raise PageRejected("not_html", f"{where}: {mime} that is no notebook")
    named = not mime and where.lower().partition("?")[0].endswith(_TEXT_SUFFIXES)
    if (mime in TEXT_TYPES or named) and not _DOCUMENT.match(text):
        return "text"
    if not _MARKUP.search(text, 0, SNIFF_CHARS):
        raise PageRejected("not_html", f"{where}: no HTML tag in the first {SNIFF_CHARS} characters")
    return "html"


def _html_page(decoded: Decoded, mime: str, url: str | None, config: ExtractConfig) -> Page:
    where = url or "page"
    text = decoded.text.replace("\x00", "").replace("\x0c", "\n")
    if config.renderer == "lynx":
        try:
            dumped = dump(text, timeout=config.lynx_timeout)
        except LynxFailed as error:
            raise PageRejected("lynx_failed", f"{where}: {error}") from error
        writer = Writer()
        num_code_blocks = write_text(writer, clean_text(dumped), usual_rules(config.max_formulas))
        parser = LexborHTMLParser(text)
        return _page(decoded, writer, {"code_blocks": num_code_blocks}, kind="html", parser=parser)
    text = xml_pages.without_prefixes(text)
    if xml_pages.is_xml(text, mime):
        text = xml_pages.as_html(text)
    text, flattened = limit_nesting(xml_pages.without_declaration(text), config.max_depth)
    rules = read_rules(text, config.max_formulas)
    parser = LexborHTMLParser(text)
    if parser.root is None:
        raise PageRejected("not_html", f"{where}: nothing to parse")
    tree = build_tree(
        parser.root,
        rules,
        max_depth=config.max_depth,
        max_nodes=config.max_nodes,
        max_formulas=config.max_formulas,
    )
    tree.counters["tags_flattened"] = flattened
    tree.forum = url is not None and "://" in url and _FORUM.search(url) is not None
    renderer = Renderer()
    renderer.render(select_main(tree))
    tree.counters["tables"] = renderer.num_tables
    tree.counters["code_blocks"] = renderer.num_code_blocks
    tree.counters["copies_dropped"] = renderer.writer.num_copies
    return _page(decoded, renderer.writer, tree.counters, kind="html", parser=parser, title=tree.title)


def _notebook_page(decoded: Decoded, where: str, config: ExtractConfig) -> Page:
    try:
        written = notebook.NotebookText(decoded.text, config.max_formulas)
    except notebook.NotANotebook as error:
        raise PageRejected("not_html", f"{where}: {error}") from error
    counters = {"code_blocks": written.num_code_blocks}
    return _page(decoded, written.writer, counters, kind="notebook", title=written.title)


def _text_page(decoded: Decoded, where: str, config: ExtractConfig) -> Page:
    start = decoded.text[:SNIFF_CHARS]
    if len(_UNPRINTABLE.findall(start)) > MOST_UNPRINTABLE * len(start):
        raise PageRejected("not_html", f"{where}: control characters")
    writer = Writer()
    num_code_blocks = write_text(writer, clean_text(decoded.text), usual_rules(config.max_formulas))
    return _page(decoded, writer, {"code_blocks": num_code_blocks}, kind="text")


def _page(
    decoded: Decoded,
    writer: Writer,
    counted: Mapping[str, int],
    *,
    kind: str,
    title: str | None = None,
    parser: LexborHTMLParser | None = None,
) -> Page:
    counters: Counter[str] = Counter(counted)
    counters["formulas"] = len(writer.formulas)
    counters.update(f"formulas_{formula.carrier}" for formula in writer.formulas)
    return Page(
        title=title,
        text=writer.text(),
        formulas=writer.formulas,
        encoding=decoded.encoding,
        num_replaced=decoded.num_replaced,
        kind=kind,
        metadata=read_metadata(parser) if parser is not None else {},
        counters=dict(sorted(counters.items())),
    )
