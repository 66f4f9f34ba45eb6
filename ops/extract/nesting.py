"""Bounded markup: what a parser that follows the HTML standard takes quadratic time on is cut before.

The standard's algorithm walks the stack of open elements for an end tag, opens formatting elements again in every
paragraph, and compares each attribute with those before it. Pages in which that could matter are rare, and a count
tells which they are; only they are looked at tag by tag.
"""

import re

import numpy as np

from ops.extract.words import words

MOST_TAGS = 20_000
"""A page with more tags is looked at whatever they are."""
MOST_WORK = 5_000_000
"""Tags times the depth that they could reach: a page with more is looked at. Parsing it takes tens of milliseconds."""
MOST_FORMATTING = 16
"""Formatting elements open at once; each one more is opened again in every paragraph."""
MOST_NAMES = 2_000
"""Different names of elements."""
MOST_ATTRIBUTES = 1_000
"""Attributes of one element."""
_BLOCK = 16_384
"""An element with too many attributes has at least two such blocks of characters without an end of a tag."""

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:-]*+)([^<>]*+)>")
_ATTRIBUTE = re.compile(r"""[\s/]*+[^\s/>=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"']*+))?""")
_START = re.compile(r"<[a-zA-Z][a-zA-Z0-9:-]*+(?=[\s/])")
_VOID = words("area base br col embed hr img input link meta param source track wbr")
_IMPLIED = words("p li dt dd tr td th thead tbody tfoot option optgroup rb rt rtc rp head")
_FLAT = _VOID | _IMPLIED
_RAW = frozenset(["script", "style", "textarea", "title", "xmp"])
_FORMATTING = words("a b big code em font i nobr s small strike strong tt u")
_ONCE = frozenset(["html", "body"])


def limit_nesting(html: str, max_depth: int) -> tuple[str, int]:
    """Leave out the tags of elements nested deeper than `max_depth`, keeping their text.

    Left out as well: end tags of elements that are not open, formatting elements beyond `MOST_FORMATTING` open ones,
    elements of more than `MOST_NAMES` names, `<html>` and `<body>` that come again, attributes beyond
    `MOST_ATTRIBUTES` of an element. Elements whose end tag may be omitted are not counted: they do not nest without
    others around them.

    Returns:
        The page and how many tags and attributes were left out. Nearly every page is returned as it is.
    """
    html, removed = _limit_attributes(html)
    if not _is_suspect(html):
        return html, removed
    pieces: list[str] = []
    depth = position = formatting = 0
    open_names: dict[str, int] = {}
    raw: str | None = None
    for match in _TAG.finditer(html):
        closing, name, rest = match.group(1), match.group(2).lower(), match.group(3)
        if raw is not None:
            if closing and name == raw:
                raw = None
            continue
        if name in _RAW:
            raw = None if closing else name
            continue
        if name in _FLAT or (rest.endswith("/") and not closing and name not in _FORMATTING):
            continue
        is_open = open_names.get(name, 0)
        if closing:
            over = depth > max_depth or not is_open
            if is_open:
                depth -= 1
                open_names[name] = is_open - 1
                if name in _FORMATTING:
                    over = over or formatting > MOST_FORMATTING
                    formatting -= 1
        else:
            depth += 1
            over = (
                depth > max_depth
                or (len(open_names) >= MOST_NAMES and name not in open_names)
                or (name in _ONCE and is_open > 0)
            )
            if len(open_names) < MOST_NAMES or name in open_names:
                open_names[name] = is_open + 1
            if name in _FORMATTING:
                formatting += 1
                over = over or formatting > MOST_FORMATTING
        if over:
            pieces.append(html[position : match.start()])
            position = match.end()
            removed += 1
    pieces.append(html[position:])
    return "".join(pieces), removed


def _is_suspect(html: str) -> bool:
    """Whether the page could nest deeply, by counts alone: every start tag is taken to stay open until an end tag."""
    tags = html.count("<")
    if tags > MOST_TAGS:
        return True
    if tags * tags <= MOST_WORK:
        return False
    characters = np.frombuffer(html.encode("utf-8", "surrogatepass") + b" ", dtype=np.uint8)
    following = characters[np.flatnonzero(characters[:-1] == ord("<")) + 1]
    letters = ((following | 32) >= ord("a")) & ((following | 32) <= ord("z"))
    steps = letters.astype(np.int32) - (following == ord("/"))
    # The depth above its lowest point so far: an end tag with nothing open does not count.
    level = np.cumsum(steps)
    depth = int((level - np.minimum(np.minimum.accumulate(level), 0)).max(initial=0))
    return depth * tags > MOST_WORK


def _limit_attributes(html: str) -> tuple[str, int]:
    """Cut what is behind the first `MOST_ATTRIBUTES` attributes of an element."""
    removed = at = looked = 0
    while at + _BLOCK <= len(html):
        if html.find(">", at, at + _BLOCK) >= 0:
            at += _BLOCK
            continue
        start = _START.search(html, max(looked, html.rfind(">", looked, at)), at + _BLOCK)
        if start is None:
            at += _BLOCK
            looked = at - 64
            continue
        cut, position, count = None, start.end(), 0
        while match := _ATTRIBUTE.match(html, position):
            count += 1
            position = match.end()
            if count == MOST_ATTRIBUTES:
                cut = position
        if cut is not None and count > MOST_ATTRIBUTES:
            html = html[:cut] + html[position:]
            removed += count - MOST_ATTRIBUTES
            position = cut
        at = looked = max(at + _BLOCK, position)
    return html, removed
