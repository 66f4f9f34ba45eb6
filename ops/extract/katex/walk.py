"""The walk over KaTeX's boxes: which builder makes which box, and boxes side by side."""

import re
import unicodedata
from collections.abc import Callable

from selectolax.lexbor import LexborNode

from ops.extract.katex.dom import elements, names_of, stack, text_of
from ops.extract.mathml import Node, token
from ops.extract.symbols import FUNCTIONS
from ops.extract.words import words

LONGEST_DEPTH = 80
_NOTHING = words(
    "strut pstrut vlist-s frac-line nulldelimiter hline hdashline arraycolsep vertical-separator eqn-num fix hide-tail "
    "overline-line underline-line svg-align-empty rule fontsize-ensurer baseline-fix sqrt-line"
)
FONTS = {
    "mathbf": "bold", "mathbb": "double-struck", "amsrm": "", "mathcal": "script", "mathscr": "script",
    "mathfrak": "fraktur", "mathsf": "sans-serif", "mathtt": "monospace", "mathrm": "normal",
    "boldsymbol": "bold-italic", "mathboldsf": "bold-sans-serif", "mathboldfrak": "bold-fraktur",
    "textbf": "bold", "textit": "italic", "texttt": "monospace", "textsf": "sans-serif", "textrm": "",
}  # fmt: skip
_OPERATORS = words("mbin mrel mopen mclose mpunct op-symbol delimsizing")
ATOMS = words("mord mbin mrel mopen mclose mpunct minner mop")
_MARGIN = re.compile(r"(?:margin-right|width):\s*(-?[\d.]+)em")
SLASHES = ("\ue020", "\u0338")
SLASH = "\u0338"
SLASH_BEHIND = "llap/"

Builder = Callable[[LexborNode, frozenset[str], int], Node]
BUILDERS: dict[str, Builder] = {}
LONE_STACK = "(one stack)"
"""Stands for the class name of a box that has a stack in it and nothing else."""


def builds(*kinds: str) -> Callable[[Builder], Builder]:
    """Register a function that makes the boxes of these class names; the first that knows a box has it."""

    def register(function: Builder) -> Builder:
        for kind in kinds:
            BUILDERS[kind] = function
        return function

    return register


def row(node: LexborNode, depth: int) -> Node:
    return Node("mrow", children(node, depth))


def children(node: LexborNode, depth: int) -> list[Node]:
    """Boxes side by side."""
    found: list[Node] = []
    child = node.first_child
    while child is not None:
        tag = child.tag or "-"
        if tag == "-text":
            found.extend(_symbols(child.text_content or "", "", operator=False))
        elif tag[0] not in "-!":
            names = names_of(child)
            if "base" in names or (not names and tag == "span" and not child.attributes.get("style")):
                found.extend(children(child, depth + 1))
            elif "msupsub" in names or ("vlist" in names and found):
                found.append(_scripted(found.pop() if found else Node("mrow"), child, depth))
            else:
                found.extend(convert(child, frozenset(names), names, depth + 1))
        child = child.next
    return _negated(found)


def _negated(nodes: list[Node]) -> list[Node]:
    """A slash and the relation it goes through, whichever comes first, as one operator."""
    found: list[Node] = []
    slashed = False
    for node in nodes:
        only = _only(node)
        before = found[-1] if found else None
        if slashed and before is not None and only.text:
            found[-1] = token("mo", unicodedata.normalize("NFC", only.text + SLASH))
            slashed = False
        elif before is not None and only.text == SLASH_BEHIND:
            found[-1] = token("mo", unicodedata.normalize("NFC", _only(before).text + SLASH))
        else:
            slashed = only.text == SLASH
            found.append(node)
    return found


def _only(node: Node) -> Node:
    while len(node.children) == 1:
        node = node.children[0]
    return node


def convert(node: LexborNode, kinds: frozenset[str], names: list[str], depth: int) -> list[Node]:
    """One box; a list, since much of what is there to lay out means nothing and some boxes only wrap a row."""
    if depth > LONGEST_DEPTH:
        return [Node("#text", text=" ".join(text_of(node).split()))]
    if not kinds.isdisjoint(_NOTHING) or "tag" in kinds:
        return []
    if "mspace" in kinds:
        return _space(node, kinds)
    if "color:transparent" in (node.attributes.get("style") or "").replace(" ", ""):
        return [Node("mphantom", [Node("mrow", _inner(node, kinds, names, depth))])]
    return _inner(node, kinds, names, depth)


def _inner(node: LexborNode, kinds: frozenset[str], names: list[str], depth: int) -> list[Node]:
    for name, build in BUILDERS.items():
        if name in kinds:
            return [build(node, kinds, depth)]
    boxes = elements(node)
    if not boxes:
        text = text_of(node)
        if "mop" in kinds and _is_name(text.strip()):
            return [_operator_name(text.strip())]
        font = next((FONTS[name] for name in names if name in FONTS), "")
        return _symbols(text, font, operator=not kinds.isdisjoint(_OPERATORS)) if text else []
    if "mop" in kinds and not any("msupsub" in names_of(child) for child in boxes):
        word = "".join(text_of(child) for child in boxes).replace("\u2009", "").strip()
        if _is_name(word):
            return [_operator_name(word)]
    if len(boxes) == 1 and "vlist-t" in names_of(boxes[0]):
        return [BUILDERS[LONE_STACK](node, kinds, depth)]
    inner = children(node, depth)
    return [Node("mrow", inner)] if len(inner) != 1 and not kinds.isdisjoint(ATOMS) else inner


def _is_name(word: str) -> bool:
    return word in FUNCTIONS or (len(word) > 1 and word.isascii() and word.isalpha())


def _operator_name(word: str) -> Node:
    return Node("mi", text=word, attrs={"function": "true", "mathvariant": "normal"})


def _symbols(text: str, font: str, *, operator: bool) -> list[Node]:
    """The characters of a box without boxes in it."""
    text = text.replace("\u200b", "").replace("\u00a0", " ").strip()
    if not text:
        return []
    if any(slash in text for slash in SLASHES):
        return [token("mo", SLASH)]
    if operator:
        return [token("mo", text)]
    if text.isdigit() or (text[0].isdigit() and text.replace(".", "").isdigit()):
        return [token("mn", text, font)]
    if font not in ("", "italic") and len(text) > 1:
        return [token("mi", text, font)]
    return [token("mi" if character not in "′/.,;:!" else "mo", character, font) for character in text.replace(" ", "")]


def _space(node: LexborNode, kinds: frozenset[str]) -> list[Node]:
    if "newline" in kinds:
        return [Node("mspace", attrs={"linebreak": "newline"})]
    match = _MARGIN.search(node.attributes.get("style") or "")
    if "quad" in kinds or "qquad" in kinds:
        return [Node("mspace", attrs={"width": "2em" if "qquad" in kinds else "1em"})]
    return [Node("mspace", attrs={"width": f"{match.group(1)}em"})] if match and float(match.group(1)) > 0.9 else []


def _scripted(base: Node, scripts: LexborNode, depth: int) -> Node:
    above: Node | None = None
    below: Node | None = None
    for item in stack(scripts):
        script = row(item.node, depth + 1)
        if not script.children:
            continue
        if item.shift < 0:
            above = script
        else:
            below = script
    if above is not None and below is not None:
        return Node("msubsup", [base, below, above])
    if above is not None:
        return Node("msup", [base, above])
    return Node("msub", [base, below]) if below is not None else base
