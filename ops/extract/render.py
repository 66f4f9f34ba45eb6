"""The tree as text: headings, lists, quotes, code fences and tables in Markdown's notation, formulas as LaTeX.

Only what marks structure is written: emphasis, link targets and images are not. A dollar sign of the page's prose is
written `\\$`, so that every other one outside code is a formula's.
"""

import re

from ops.extract.code import has_line_breaks, is_code_block, language_of, raw_pieces, trim_lines
from ops.extract.registry import Formula
from ops.extract.tables import captions, table_rows
from ops.extract.tree import CODE_TAGS, Element
from ops.extract.words import words
from ops.extract.writer import LINE, Writer, normalize

_BLOCKS = words(
    "address article aside body center dd details div dl dt fieldset figcaption figure footer form header "
    "hgroup html legend li main nav p section summary tbody tfoot thead tr td th caption hr"
)
_HEADINGS = {"h1": "# ", "h2": "## ", "h3": "### ", "h4": "#### ", "h5": "##### ", "h6": "###### "}
_DOLLAR = re.compile(r"(?<!\\)\$")
_FOOTNOTE = re.compile(r"\s*[\[(]?(?:\d{1,3}|[a-z*†‡§])[\])]?\s*")
_ORDINAL = re.compile(r"(?:st|nd|rd|th|er|re|e|o|a|ª|º|TM|tm|SM|®|™|ed|d)$")
_NUMBER = re.compile(r"-?[0-9]{1,7}")
_PILCROW = re.compile(r"^[\s¶#§🔗↩↵⤴↑\ufe0e\ufe0f]*$")


class Renderer:
    """Writes one element and what is below it."""

    def __init__(self) -> None:
        self.writer = Writer()
        self.run: list[str | Formula] = []
        self.languages: list[str] = []
        self.list_depth = 0
        self.num_tables = 0
        self.num_code_blocks = 0

    def render(self, element: Element) -> None:
        self._children(element)
        self._flush()

    def _flush(self, lead: str = "", *, one_line: bool = False) -> None:
        if self.run:
            self.writer.inline(self.run, lead=lead, one_line=one_line)
            self.run = []

    def _children(self, element: Element) -> None:
        for child in element.children:
            if isinstance(child, str):
                self.run.append(_prose(child))
            elif isinstance(child, Formula):
                self.run.append(child)
            elif not child.dropped:
                self._element(child)

    def _element(self, element: Element) -> None:
        tag = element.tag
        if tag == "br":
            self.run.append(LINE)
        elif tag in ("sup", "sub"):
            self._script(element)
        elif tag in _HEADINGS:
            self._flush()
            self.run = self.inline_pieces(element)
            self._flush(_HEADINGS[tag], one_line=True)
        elif (
            tag in ("pre", "listing", "xmp")
            or (tag == "code" and has_line_breaks(element))
            or ("class" in element.attrs and is_code_block(element))
        ):
            self._flush()
            self._code_block(element)
        elif tag in CODE_TAGS:
            self._inline_code(element)
        elif tag in ("ul", "ol", "menu", "dir"):
            self._flush()
            self._list(element)
        elif tag == "blockquote":
            self._flush()
            self.writer.push("> ")
            self._children(element)
            self._flush()
            self.writer.pop()
        elif tag == "table":
            self._flush()
            self._table(element)
        elif tag in _BLOCKS:
            self._flush()
            language = language_of(element) if "class" in element.attrs else None
            if language:
                self.languages.append(language)
            self._children(element)
            self._flush()
            if language:
                self.languages.pop()
        elif tag == "a" and _is_permalink(element):
            return
        else:
            self._children(element)

    def inline_pieces(self, element: Element) -> list[str | Formula]:
        """Everything below an element as one line: blocks in it become spaces."""
        pieces: list[str | Formula] = []
        outer, self.run = self.run, pieces
        self._inline_children(element)
        self.run = outer
        return [" " if piece == LINE else piece for piece in pieces]

    def _inline_children(self, element: Element) -> None:
        for child in element.children:
            if isinstance(child, str):
                self.run.append(_prose(child))
            elif isinstance(child, Formula):
                self.run.append(child)
            elif child.dropped:
                continue
            elif child.tag in ("sup", "sub"):
                self._script(child)
            elif child.tag in CODE_TAGS:
                self._inline_code(child)
            elif child.tag == "a" and _is_permalink(child):
                continue
            else:
                block = child.tag in _BLOCKS or child.tag in ("br", "ul", "ol", "table", "blockquote")
                if block:
                    self.run.append(" ")
                self._inline_children(child)
                if block:
                    self.run.append(" ")

    def _script(self, element: Element) -> None:
        """`<sup>` and `<sub>`: never run into what is before, so that 10<sup>29</sup> stays apart from 1029."""
        pieces = normalize(self.inline_pieces(element))
        if not pieces:
            return
        plain = "".join(piece for piece in pieces if isinstance(piece, str))
        only_text = all(isinstance(piece, str) for piece in pieces)
        has_link = any(isinstance(child, Element) and child.tag == "a" for child in element.children)
        if only_text and has_link and _FOOTNOTE.fullmatch(plain):
            self.run.append(plain if plain.startswith(("[", "(")) else f"[{plain}]")
        elif only_text and element.tag == "sup" and (_ORDINAL.fullmatch(plain) or plain.startswith("[")):
            self.run.append(plain)
        else:
            mark = "^" if element.tag == "sup" else "_"
            one = len(plain) == 1 if only_text else len(pieces) == 1
            self.run += [mark, *pieces] if one else [f"{mark}{{", *pieces, "}"]

    def _inline_code(self, element: Element) -> None:
        pieces: list[str | Formula] = []
        raw_pieces(element, pieces)
        if any(isinstance(piece, Formula) for piece in pieces) or element.tag in ("tt", "var"):
            self.run.extend(pieces)
            return
        text = " ".join("".join(str(piece) for piece in pieces).split())
        if text:
            fence = "``" if "`" in text else "`"
            padded = f" {text} " if text.startswith("`") or text.endswith("`") else text
            self.run.append(f"{fence}{padded}{fence}")

    def _code_block(self, element: Element) -> None:
        pieces: list[str | Formula] = []
        raw_pieces(element, pieces)
        text = "".join(piece if isinstance(piece, str) else "" for piece in pieces)
        if not text.strip():
            self.run = [piece for piece in pieces if isinstance(piece, Formula)]
            self._flush()
            return
        language = language_of(element) or next(
            (
                found
                for child in element.children
                if isinstance(child, Element) and (found := language_of(child)) is not None
            ),
            self.languages[-1] if self.languages else "",
        )
        fence = "`" * max(3, 1 + max((len(match) for match in re.findall("`+", text)), default=0))
        self.num_code_blocks += 1
        self.writer.start_block()
        self.writer.raw(f"{fence}{language}\n")
        pieces = trim_lines(pieces)
        for piece in pieces:
            if isinstance(piece, Formula):
                self.writer.put([piece], one_line=True)
            else:
                self.writer.raw(piece)
        self.writer.raw(f"\n{fence}")

    def _list(self, element: Element) -> None:
        ordered = element.tag == "ol"
        number = _number(element.attrs.get("start"), 1)
        first = True
        if self.list_depth:
            self.writer.tighten()
        self.list_depth += 1
        for child in element.children:
            if isinstance(child, Element) and child.dropped:
                continue
            if isinstance(child, Element) and child.tag == "li":
                self._flush()
                number = _number(child.attrs.get("value"), number)
                marker = f"{number}. " if ordered else "- "
                number += 1
                if not first:
                    self.writer.tighten()
                self.writer.push(" " * len(marker), marker)
                length = self.writer.length
                self._children(child)
                self._flush()
                self.writer.pop()
                first = first and self.writer.length == length
            elif isinstance(child, str):
                self.run.append(_prose(child))
            elif isinstance(child, Formula):
                self.run.append(child)
            else:
                self._element(child)
        self._flush()
        self.list_depth -= 1

    def _table(self, element: Element) -> None:
        rows = table_rows(element)
        if rows is None:
            self._children(element)
            self._flush()
            return
        for caption in captions(element):
            self._element(caption)
        lines: list[list[list[str | Formula]]] = []
        for row in rows:
            cells = [normalize(self.inline_pieces(cell)) if cell is not None else [] for cell in row]
            if any(cells):
                lines.append(cells)
        if not lines:
            return
        self.num_tables += 1
        width = max(map(len, lines))
        writer = self.writer
        writer.start_block()
        for index, cells in enumerate(lines):
            if index:
                writer.raw("\n")
            writer.raw("|")
            for cell in [*cells, *[[]] * (width - len(cells))]:
                writer.raw(" ")
                writer.put(
                    [piece.replace("|", "\\|") if isinstance(piece, str) else piece for piece in cell],
                    one_line=True,
                    cell=True,
                )
                writer.raw(" |")
            if index == 0:
                writer.raw("\n|" + " --- |" * width)


def _number(value: str | None, otherwise: int) -> int:
    """The number of a list's item; `otherwise` when it is none, or a counter out of any list."""
    digits = (value or "").strip()
    return int(digits) if _NUMBER.fullmatch(digits) else otherwise


def _prose(text: str) -> str:
    """Text outside code: its dollar signs are no delimiters."""
    return _DOLLAR.sub(r"\\$", text) if "$" in text else text


def _is_permalink(element: Element) -> bool:
    return (
        len(element.children) == 1
        and isinstance(element.children[0], str)
        and len(element.children[0]) < 4
        and (_PILCROW.match(element.children[0]) is not None)
    )
