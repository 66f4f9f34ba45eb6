"""Bounded nesting: a parser that follows the HTML standard takes quadratic time on it, so it is cut before."""

import re

from ops.extract.words import words

SAFE_TAGS = 10_000
"""A page with fewer start tags is parsed in a fraction of a second however they nest."""

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:-]*)([^<>]*)>")
_VOID = words("area base br col embed hr img input link meta param source track wbr")
_IMPLIED = words("a nobr p li dt dd tr td th thead tbody tfoot option optgroup rb rt rtc rp html head body")
_FLAT = _VOID | _IMPLIED
_RAW = frozenset(["script", "style", "textarea", "title", "xmp"])


def limit_nesting(html: str, max_depth: int) -> tuple[str, int]:
    """Leave out the tags of elements nested deeper than `max_depth`, keeping their text.

    Returns the page and how many tags were left out. A page of at most `SAFE_TAGS` start tags is returned as it is.
    Elements whose end tag may be omitted are not counted: they do not nest without others around them.
    """
    if html.count("<") - html.count("</") <= SAFE_TAGS:
        return html, 0
    pieces: list[str] = []
    depth = position = removed = 0
    raw: str | None = None
    for match in _TAG.finditer(html):
        closing, name, rest = match.group(1), match.group(2).lower(), match.group(3)
        if raw is not None:
            if closing and name == raw:
                raw = None
            continue
        if name in _FLAT or rest.endswith("/"):
            continue
        if name in _RAW:
            if not closing:
                raw = name
            continue
        if closing:
            over = depth > max_depth
            depth = max(0, depth - 1)
        else:
            depth += 1
            over = depth > max_depth
        if over:
            pieces.append(html[position : match.start()])
            position = match.end()
            removed += 1
    pieces.append(html[position:])
    return "".join(pieces), removed
