"""One page: bytes in, text with formulas out."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser

from ops.errors import InputError
from ops.extract import carriers  # noqa: F401  (registers them)
from ops.extract.config import ExtractConfig
from ops.extract.delimiters import read_rules
from ops.extract.encoding import decode
from ops.extract.main_content import select_main
from ops.extract.nesting import limit_nesting
from ops.extract.render import Renderer
from ops.extract.tree import TooManyNodes, build_tree
from ops.extract.writer import PlacedFormula

_HTML_TYPES = ("text/html", "application/xhtml+xml", "application/xml", "text/xml", "application/html")
_SIGNATURES = (
    b"%PDF",
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
_MARKUP = re.compile(
    r"<\s*(?:!doctype|html|head|body|div|p|span|a|table|h[1-6]|title|meta|script|article|main|section|math|mml:math|ul|ol"
    r"|dl|pre|blockquote|br|b|i|em|strong|img|center|font)\b",
    re.IGNORECASE,
)
_PREFIXED = re.compile(r"<(/?)(?:mml|m|mathml|ns\d):(?=(?:math|m[a-z]+|semantics|annotation|none)\b)", re.IGNORECASE)
_XML_START = re.compile(r"^\s*<\?xml[^>]*\?>")
SNIFF_CHARS = 65_536


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
    counters: Mapping[str, int] = field(default_factory=dict)


def extract_page(
    html: bytes | str, url: str | None = None, content_type: str | None = None, *, config: ExtractConfig | None = None
) -> Page:
    """Turn an HTML page into text with its formulas as LaTeX.

    Args:
        html: the page as fetched, or as text.
        url: where it is from; for error messages.
        content_type: the HTTP header, with or without a charset.
        config: the bounds of one page.

    Raises:
        PageRejected: `not_html` (by header or by its bytes), `too_large`, `too_many_nodes`.
    """
    config = config or ExtractConfig()
    where = url or "page"
    if len(html) > config.max_bytes:
        raise PageRejected("too_large", f"{where}: {len(html)} bytes, the budget is {config.max_bytes}")
    mime = (content_type or "").partition(";")[0].strip().lower()
    if mime and mime not in _HTML_TYPES:
        raise PageRejected("not_html", f"{where}: {mime}")
    if isinstance(html, bytes) and html.startswith(_SIGNATURES):
        raise PageRejected("not_html", f"{where}: starts with {html[:8]!r}")
    decoded = decode(html, content_type)
    text = decoded.text.replace("\x00", "")
    if not _MARKUP.search(text, 0, SNIFF_CHARS):
        raise PageRejected("not_html", f"{where}: no HTML tag in the first {SNIFF_CHARS} characters")
    text = _XML_START.sub("", text)
    if ":m" in text:
        text = _PREFIXED.sub(r"<\1", text)
    text, flattened = limit_nesting(text, config.max_depth)
    rules = read_rules(text)
    document = LexborHTMLParser(text).root
    if document is None:
        raise PageRejected("not_html", f"{where}: nothing to parse")
    try:
        tree = build_tree(document, rules, max_depth=config.max_depth, max_nodes=config.max_nodes)
    except TooManyNodes as error:
        raise PageRejected("too_many_nodes", f"{where}: {error}") from error
    tree.counters["tags_flattened"] = flattened
    renderer = Renderer()
    renderer.render(select_main(tree))
    counters: Counter[str] = Counter(tree.counters)
    formulas = renderer.writer.formulas
    counters["formulas"] = len(formulas)
    counters["tables"] = renderer.num_tables
    counters["code_blocks"] = renderer.num_code_blocks
    counters.update(f"formulas_{formula.carrier}" for formula in formulas)
    return Page(
        title=tree.title,
        text=renderer.writer.text(),
        formulas=formulas,
        encoding=decoded.encoding,
        num_replaced=decoded.num_replaced,
        counters=dict(sorted(counters.items())),
    )
