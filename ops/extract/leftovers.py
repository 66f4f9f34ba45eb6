"""What is left in an article that is none of it: blocks that are nearly all links, lines that are one link, a date or a
credit, and headings below which nothing stayed."""

import re

from ops.extract.tree import Element, Tree
from ops.extract.words import words

LARGEST_BOILERPLATE = 0.35
"""What is called boilerplate and has more than this share of the page's running text is kept."""
LINK_DENSITY = 0.66
LEAST_LINKS = 2
"""A block with so many links and this share of its text in them is navigation."""
LINK_CHARS = 60
"""Links that are longer on average are sentences."""
ONLY_LINKS = 0.9
LONGEST_CREDIT = 160
LONGEST_DATE = 40
BESIDE_DATE = 15
"""A line with a date and at most so many letters is dropped."""

_LINK_BLOCKS = words("ul ol div section table nav form dl p")
_HEADINGS = words("h1 h2 h3 h4 h5 h6")
_BLOCKS = _HEADINGS | words(
    "p div li td th dd dt blockquote pre section article figure figcaption header footer aside address center caption "
    "summary legend fieldset"
)
_LINES = frozenset(["p", "div", "li"])
_DATE = re.compile(r"\b\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d\d)\b|\b\d{4}-\d\d-\d\d\b|\b\d{1,2}:\d\d\b")
_CREDIT = re.compile(
    r"[\[(]?\s?(?:fotos?|photos?(?: credit)?|bild(?:er)?|images?|quellen?|source|cr[ée]dits?|©|copyright|imagen|fuente)"
    r"\b\s?(?:[:©/|]|by\b|via\b|von\b)",
    re.IGNORECASE,
)


def drop_link_blocks(main: Element, tree: Tree) -> None:
    """Drop lists and other blocks that are nearly all links."""
    pending = [main]
    largest = LARGEST_BOILERPLATE * max(1, main.chars)
    while pending:
        for child in pending.pop().children:
            if not isinstance(child, Element) or child.dropped or child.num_links < LEAST_LINKS:
                continue
            if (
                child.tag in _LINK_BLOCKS
                and child.num_formulas == 0
                and child.link_chars > LINK_DENSITY * child.chars
                and child.chars <= largest
                and child.link_chars < LINK_CHARS * child.num_links
            ):
                child.dropped = True
                tree.counters["dropped_links"] += 1
            else:
                pending.append(child)


def drop_lines(main: Element, tree: Tree) -> None:
    """Drop blocks that are one link, a date or a credit, and headings below which all was dropped."""
    found: list[Element | None] = []
    _collect_blocks(main, found)
    for block in found:
        if block is None or block.dropped or block.num_formulas or not block.chars:
            continue
        if block.tag in _LINES and block.link_chars >= ONLY_LINKS * block.chars:
            block.dropped = True
        elif block.chars < LONGEST_CREDIT and block.tag not in _HEADINGS:
            text = text_of(block)
            block.dropped = _CREDIT.match(text) is not None or (
                block.chars < LONGEST_DATE and block.tag in _LINES and _is_date(text)
            )
        if block.dropped:
            tree.counters["dropped_lines"] += 1
    gone = text_below = False
    for block in reversed(found):
        if block is None:
            text_below = True
        elif block.dropped:
            gone = gone or block.chars > 0
        elif block.tag in _HEADINGS:
            if gone and not text_below and block.tag != "h1" and not block.num_formulas:
                block.dropped = True
                tree.counters["dropped_lines"] += 1
            else:
                gone = text_below = False
        elif block.chars or block.num_formulas:
            text_below = True


def _is_date(text: str) -> bool:
    match = _DATE.search(text)
    return match is not None and sum(map(str.isalpha, text)) <= BESIDE_DATE


def _collect_blocks(element: Element, found: list[Element | None]) -> bool:
    """Add the innermost blocks below, what was dropped, and None for text between, in page order; are there any?"""
    any_block = text = False
    for child in element.children:
        if not isinstance(child, Element):
            text = text or not isinstance(child, str) or not child.isspace()
            continue
        here = len(found)
        if child.dropped:
            found.append(child)
        elif child.tag in _HEADINGS or not _collect_blocks(child, found):
            if child.tag not in _BLOCKS:
                text = text or child.chars > 0 or child.num_formulas > 0
                continue
            found.append(child)
            any_block = True
        else:
            any_block = True
        if text:
            found.insert(here, None)
            text = False
    if text and any_block:
        found.append(None)
    return any_block


def text_of(element: Element) -> str:
    """The text below, white space collapsed."""
    pieces: list[str] = []
    _add_text(element, pieces)
    return " ".join("".join(pieces).split())


def _add_text(element: Element, pieces: list[str]) -> None:
    for child in element.children:
        if isinstance(child, str):
            pieces.append(child)
        elif isinstance(child, Element):
            _add_text(child, pieces)
