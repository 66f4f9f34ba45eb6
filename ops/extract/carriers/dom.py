"""Looking around in the parser's DOM."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ops.extract.registry import is_tex, undelimit

MOST_NODES = 10_000
"""Elements below one that are looked through: elements that are no formulas may nest around a whole page."""
_NOT_SHOWN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_PREFIX = re.compile(r"<(/?)(?:mml|m):(?=m|semantics|annotation|none)", re.IGNORECASE)


def next_element(node: LexborNode) -> LexborNode | None:
    """The next sibling that is an element; text other than white space ends the search."""
    sibling = node.next
    while sibling is not None:
        tag = sibling.tag or ""
        if tag == "-text":
            if (sibling.text_content or "").strip():
                return None
        elif tag[:1] not in ("-", "!"):
            return sibling
        sibling = sibling.next
    return None


def class_names(node: LexborNode | None) -> list[str]:
    """Class names of an element, none for no element."""
    if node is None or not node.is_element_node:
        return []
    return (node.attributes.get("class") or "").split()


def descendants(node: LexborNode, *tags: str) -> Iterator[LexborNode]:
    """Elements below `node` with one of `tags`, in page order."""
    for below in within(node):
        if below.tag in tags:
            yield below


def within(node: LexborNode) -> Iterator[LexborNode]:
    """An element and the elements below it, as many as a formula may have."""
    return islice(node.traverse(include_text=False), MOST_NODES)


def children(node: LexborNode, tag: str) -> Iterator[LexborNode]:
    """Child elements with a tag."""
    child = node.first_child
    while child is not None:
        if child.tag == tag:
            yield child
        child = child.next


def first(node: LexborNode, *tags: str) -> LexborNode | None:
    """The first element below `node` with one of `tags`."""
    return next(descendants(node, *tags), None)


def ancestor_has_class(node: LexborNode, names: frozenset[str], levels: int) -> bool:
    """Whether one of the `levels` elements around `node` has one of the class names."""
    around = node.parent
    for _ in range(levels):
        if around is None:
            return False
        if not names.isdisjoint(class_names(around)):
            return True
        around = around.parent
    return False


def own_text(node: LexborNode) -> str:
    """All text of an element, its `<br>` as line ends."""
    pieces = []
    for below in node.traverse(include_text=True):
        if below.tag == "-text":
            pieces.append(below.text_content or "")
        elif below.tag == "br":
            pieces.append("\n")
    return "".join(pieces)


def is_hidden(attrs: Mapping[str, str | None]) -> bool:
    """Whether an element is not shown, by its own attributes."""
    style = attrs.get("style")
    return "hidden" in attrs or (style is not None and _NOT_SHOWN.search(style) is not None)


def parse_math(markup: str) -> LexborNode | None:
    """The first `<math>` element of a piece of markup."""
    parsed = LexborHTMLParser(_PREFIX.sub(r"<\1", markup)).body
    return None if parsed is None else first(parsed, "math")


def in_code(node: LexborNode) -> bool:
    """Whether an element is part of a listing."""
    around = node.parent
    for _ in range(6):
        if around is None:
            return False
        if around.tag in ("pre", "code"):
            return node.tag not in ("pre", "code")
        around = around.parent
    return False


def repeats_hidden(node: LexborNode) -> bool:
    """Whether what is rendered here stands hidden, as TeX, just before."""
    for here in (node, node.parent):
        if here is None:
            return False
        before = here.prev
        while before is not None and before.tag == "-text" and not (before.text_content or "").strip():
            before = before.prev
        if before is not None and before.is_element_node:
            attrs = before.attributes
            if "style" in attrs and is_hidden(attrs):
                text = own_text(before).strip()
                return 0 < len(text) < 10_000 and is_tex(undelimit(text)[0] if len(text) > 2 else text)
        if before is not None:
            return False
    return False
