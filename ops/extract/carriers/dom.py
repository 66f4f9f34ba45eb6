"""Looking around in the parser's DOM."""

from collections.abc import Iterator

from selectolax.lexbor import LexborNode


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
    for below in node.traverse(include_text=False):
        if below.tag in tags:
            yield below


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
