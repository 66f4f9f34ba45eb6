"""MathML as a light tree: what a converter needs of the parser's DOM, or of another carrier's boxes.

Reading is a loop, not a recursion, and the tree is at most `LONGEST_DEPTH` levels deep: below that only text is kept.
Groups of one element are that element, what is invisible is gone, and letters of the mathematical alphanumeric block
are plain letters with a `mathvariant`.
"""

from collections.abc import Mapping

from selectolax.lexbor import LexborNode

from ops.extract.symbols import plain_letters
from ops.extract.words import words

LONGEST_DEPTH = 120
GROUPS = words("math mrow mstyle mpadded merror a span bdi mtd")
"""Elements that lay their children out in a row and write nothing of their own."""
TOKENS = words("mi mo mn mtext ms")
_LEAVES = TOKENS | {"annotation"}
_SIMPLE = frozenset(["mi", "mo", "mn"])
"""With elements in them, against the standard, they are a row."""
_PLAIN = words("mrow msub msup msubsup msqrt mroot")
"""Elements none of whose attributes matter."""
_JOINED = frozenset(["normal", "sans-serif", "monospace"])
"""Fonts of names: letters side by side in one of these are one name."""
_INVISIBLE = frozenset(["", "\u2061", "\u2062", "\u2063", "\u2064", "\u200b", "\u2060", "\ufeff"])
_MAY_HIDE = frozenset(["mo", "mi", "#text"])
_ROWS = GROUPS | {"msqrt", "menclose", "mphantom"}
_NO_ATTRIBUTES: Mapping[str, str | None] = {}


class Node:
    """An element of MathML."""

    __slots__ = ("attrs", "children", "tag", "text")

    def __init__(
        self,
        tag: str,
        children: "list[Node] | None" = None,
        *,
        text: str = "",
        attrs: Mapping[str, str | None] = _NO_ATTRIBUTES,
    ) -> None:
        self.tag = tag
        self.children = children if children is not None else []
        self.text = text
        """Of a token element, white space collapsed at the ends; empty for all others."""
        self.attrs = attrs

    def get(self, name: str) -> str:
        """An attribute, empty when there is none."""
        return self.attrs.get(name) or ""

    def all_text(self) -> str:
        """The text of this element and all below it."""
        pieces: list[str] = []
        pending: list[Node] = [self]
        while pending:
            node = pending.pop()
            if node.text:
                pieces.append(node.text)
            pending.extend(reversed(node.children))
        return " ".join(pieces)


def read(math: LexborNode) -> Node:
    """The tree of an element of the parser's DOM."""
    root = Node(math.tag or "math", attrs=math.attributes)
    nodes = [root]
    pending: list[tuple[LexborNode, Node, int, str]] = [(math, root, 0, root.get("mathvariant"))]
    while pending:
        source, parent, depth, variant = pending.pop()
        append = parent.children.append
        child = source.first_child
        while child is not None:
            tag = child.tag or "-"
            if tag == "-text":
                text = (child.text_content or "").split()
                if text:
                    append(Node("#text", text=" ".join(text)))
            elif tag[0] not in "-!":
                attrs = _NO_ATTRIBUTES if tag in _PLAIN else child.attributes
                node = Node(tag, attrs=attrs)
                append(node)
                raw = _only_text(child) if tag in _LEAVES else None
                if raw is not None:
                    if variant or attrs or len(raw) > 1 or raw > "\u20ff":
                        _read_token(node, raw, variant)
                    else:
                        node.text = raw
                elif depth >= LONGEST_DEPTH:
                    node.tag, node.text = "#text", " ".join((child.text(deep=True) or "").split())
                else:
                    if tag in _SIMPLE:
                        node.tag = "mrow"
                    nodes.append(node)
                    pending.append((child, node, depth + 1, _variant_of(node) or variant))
            child = child.next
    return _settled(nodes)


def settle(root: Node) -> Node:
    """Make a tree that was built by hand what a tree that was read is."""
    nodes = [root]
    for node in nodes:
        nodes.extend(node.children)
    return _settled(nodes)


def _settled(nodes: list[Node]) -> Node:
    # Parents come before their children, so that from the end every child is settled before its parent.
    for node in reversed(nodes):
        _settle(node)
    return nodes[0]


def _only_text(node: LexborNode) -> str | None:
    """The text of an element that has no elements in it; None for others."""
    first = node.first_child
    if first is None:
        return ""
    if first.next is None and first.tag == "-text":
        return first.text_content or ""
    child: LexborNode | None = first
    while child is not None:
        if (child.tag or "-")[0] not in "-!":
            return None
        child = child.next
    return node.text(deep=True) or ""


def _variant_of(node: Node) -> str:
    if not node.attrs:
        return ""
    variant = node.get("mathvariant")
    if variant:
        return variant
    if node.get("fontweight") == "bold":
        return "bold-italic" if node.get("fontstyle") == "italic" else "bold"
    return "normal" if node.get("fontstyle") == "normal" else ""


def _read_token(node: Node, raw: str, inherited: str) -> None:
    if node.tag in ("mtext", "ms", "annotation"):
        node.text = raw
    else:
        node.text = " ".join(raw.split()) if len(raw) > 1 else raw.strip()
    variant = _variant_of(node)
    if not raw.isascii():
        node.text, own = plain_letters(node.text)
        variant = own or variant
    variant = variant or inherited
    if variant != node.get("mathvariant"):
        node.attrs = {**node.attrs, "mathvariant": variant}


def token(tag: str, text: str, variant: str = "") -> Node:
    """A token element that was not read from a page."""
    return Node(tag, text=text, attrs={"mathvariant": variant} if variant else _NO_ATTRIBUTES)


def invisible(node: Node) -> bool:
    """Whether the element shows nothing and takes no room."""
    return node.text in _INVISIBLE and node.tag in _MAY_HIDE and not node.children


def _settle(node: Node) -> None:
    """Take groups of one element apart, and drop what is invisible where children do not count by their place."""
    children = node.children
    is_row = node.tag in _ROWS
    lettered = hidden = False
    for index, child in enumerate(children):
        below = child.children
        if below:
            if len(below) == 1 and child.tag in GROUPS and child.tag != "mtd":
                child = children[index] = below[0]
        elif child.text in _INVISIBLE and child.tag in _MAY_HIDE:
            if child.text == "\u2061":
                hidden = True
                if index and children[index - 1].tag == "mi":
                    name = children[index - 1]
                    name.attrs = {**name.attrs, "function": "true"}
            hidden = hidden or is_row
        if child.attrs:
            lettered = True
    if hidden:
        children = [child for child in children if not (invisible(child) if is_row else child.text == "\u2061")]
        node.children = children
    if lettered and is_row and len(children) > 1:
        node.children = _names(children, whole=node.tag in GROUPS)


def _names(nodes: list[Node], *, whole: bool) -> list[Node]:
    """Letters that are one name as one identifier: converters write `\\mathsf{max}` letter by letter.

    Letters of any font but the usual one are a name when they are all there is in a group.
    """
    if whole:
        fonts = {_font(node) for node in nodes}
        if len(fonts) == 1 and "" not in fonts:
            return [token("mi", "".join(node.text for node in nodes), fonts.pop())]
    joined: list[Node] = []
    previous = ""
    for node in nodes:
        font = _font(node)
        if font in _JOINED and font == previous:
            joined[-1] = token("mi", joined[-1].text + node.text, font)
        else:
            joined.append(node)
        previous = font
    return joined


def _font(node: Node) -> str:
    """The font of an ASCII letter or number that is not in the usual one."""
    if not node.attrs or node.tag not in ("mi", "mn", "mo"):
        return ""
    font = node.attrs.get("mathvariant") or ""
    if font in ("", "italic") or not node.text.isascii() or not (node.text.isalnum() or node.text == "_"):
        return ""
    return font
