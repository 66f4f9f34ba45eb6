"""Looking around in KaTeX's boxes."""

import re
from dataclasses import dataclass

from selectolax.lexbor import LexborNode

SMALL = ("sizing", "scriptstyle", "scriptscriptstyle")
"""Class names of a box in a stack that is a script and not what has it."""
_TOP = re.compile(r"top:\s*(-?[\d.]+)em")
_HEIGHT = re.compile(r"height:\s*(-?[\d.]+)em")


@dataclass(frozen=True, slots=True)
class Item:
    """One box of a stack and how far it is below the line (negative: above), in em."""

    node: LexborNode
    shift: float


def names_of(node: LexborNode) -> list[str]:
    return [name.removeprefix("katex-") for name in (node.attributes.get("class") or "").split()]


def elements(node: LexborNode) -> list[LexborNode]:
    found = []
    child = node.first_child
    while child is not None:
        if (child.tag or "-")[0] not in "-!":
            found.append(child)
        child = child.next
    return found


def text_of(node: LexborNode) -> str:
    return (node.text(deep=True) or "").replace("\u200b", "")


def stack(node: LexborNode) -> list[Item]:
    """The boxes of the first stack (`vlist`) in `node`, from the top down."""
    for below in node.traverse(include_text=False):
        if "vlist" in names_of(below):
            items = []
            for item in elements(below):
                match = _TOP.search(item.attributes.get("style") or "")
                if match is None:
                    continue
                strut = next((inner for inner in elements(item) if "pstrut" in names_of(inner)), None)
                height = _HEIGHT.search((strut.attributes.get("style") or "") if strut is not None else "")
                items.append(Item(item, float(match.group(1)) + (float(height.group(1)) if height else 0.0)))
            return sorted(items, key=lambda item: item.shift)
    return []


def has(node: LexborNode, *wanted: str) -> bool:
    """Whether one of the boxes right in `node` has one of these class names."""
    return any(not {*wanted}.isdisjoint(names_of(below)) for below in elements(node))
