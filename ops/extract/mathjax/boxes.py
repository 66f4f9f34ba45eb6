"""Boxes that MathJax names after the MathML elements they draw."""

import re

from selectolax.lexbor import LexborNode

from ops.extract.words import words

LONGEST_DEPTH = 100
TOKENS = frozenset(["mi", "mn", "mo", "mtext", "ms"])
SCRIPTS = words("msub msup msubsup munder mover munderover")
PARTS = TOKENS | SCRIPTS | words(
    "math mrow texatom mstyle mpadded maction merror mfrac msqrt mroot mtable mmultiscripts menclose mspace mphantom "
    "semantics mfenced inferredmrow base op script sub sup over under num numerator den denominator root mtr "
    "mlabeledtr mtd prescripts scripts"
)  # fmt: skip
NOTHING = words(
    "strut nstrut dstrut tstrut line surd assistive-mml speech braille labels label vsize linestrut annotation "
    "annotation-xml delim-h-line"
)
CODE_POINT = re.compile(r"\bmjx-c([0-9A-F]{2,6})\b")


def kind_of(node: LexborNode) -> str:
    """The MathML element, or the part of one, that a box is named after; empty for a box without a name."""
    tag = node.tag or ""
    if tag.startswith("mjx-"):
        return tag[4:]
    attrs = node.attributes
    if tag == "g":
        return (attrs.get("data-mml-node") or "").lower()
    for name in (attrs.get("class") or "").split():
        if name.startswith("mjx-") and not CODE_POINT.match(name):
            return name[4:]
    return ""


def child_elements(node: LexborNode) -> list[LexborNode]:
    found = []
    child = node.first_child
    while child is not None:
        if (child.tag or "-")[:1] not in ("-", "!"):
            found.append(child)
        child = child.next
    return found


def boxes_below(node: LexborNode, depth: int = 0) -> list[tuple[str, LexborNode]]:
    """The named boxes directly below, those in boxes without a name included."""
    found: list[tuple[str, LexborNode]] = []
    for child in child_elements(node):
        kind = kind_of(child)
        if kind in PARTS:
            found.append((kind, child))
        elif kind not in NOTHING and depth < LONGEST_DEPTH and child.attributes.get("data-labels") is None:
            found += boxes_below(child, depth + 1)
    return found
