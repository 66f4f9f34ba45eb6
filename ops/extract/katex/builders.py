"""Fractions, roots, accents, limits, arrows, fences and text."""

from selectolax.lexbor import LexborNode

from ops.extract.katex.dom import SMALL, elements, has, names_of, stack, text_of
from ops.extract.katex.shapes import fence_of, mark_of
from ops.extract.katex.walk import (
    ATOMS,
    FONTS,
    LONGEST_DEPTH,
    SLASH,
    SLASH_BEHIND,
    SLASHES,
    builds,
    children,
    convert,
    row,
)
from ops.extract.mathml import Node, token
from ops.extract.words import words

_MATH_FONTS = words(
    "mathnormal mathdefault mathit mathbf mathbb mathcal mathfrak mathsf mathtt mathscr boldsymbol amsrm"
)
_ACCENTS = {"⃗": "→", "ˊ": "´", "ˋ": "`", "ˉ": "¯"}


@builds("text")
def text_box(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    """`\\text`: words, and mathematics in it where a box has the class of mathematics."""
    pieces: list[Node] = []

    def add(text: str, font: str) -> None:
        last = pieces[-1] if pieces else None
        if last is not None and last.tag == "mtext" and last.get("mathvariant") == font:
            last.text += text
        else:
            pieces.append(token("mtext", text, font))

    def collect(parent: LexborNode, font: str, level: int) -> None:
        child = parent.first_child if level <= LONGEST_DEPTH else None
        while child is not None:
            tag = child.tag or "-"
            names = names_of(child) if tag[0] not in "-!" else []
            if tag == "-text":
                add((child.text_content or "").replace("\u200b", "").replace("\u00a0", " "), font)
            elif "mspace" in names:
                add(text_of(child).replace("\u00a0", " "), font)
            elif not _MATH_FONTS.isdisjoint(names) or (names and not {"mord", "text"} & {*names} and tag == "span"):
                if not {"nobreak", "allowbreak"} & {*names} and (names[0] in ATOMS or names[0] in _MATH_FONTS):
                    pieces.extend(convert(child, frozenset(names), names, level + 1))
                else:
                    collect(child, font, level + 1)
            elif "mord" in names and not {"mfrac", "accent", "sqrt", "mtable"}.isdisjoint(names):
                pieces.extend(convert(child, frozenset(names), names, level + 1))
            elif names or tag == "span":
                collect(child, next((FONTS[name] for name in names if name in FONTS), font), level + 1)
            child = child.next

    collect(node, "", depth)
    pieces = [piece for piece in pieces if piece.text or piece.children]
    return Node("mrow", pieces)


@builds("mfrac")
def fraction(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    items = stack(node)
    parts = [row(item.node, depth + 1) for item in items if not has(item.node, "frac-line")]
    if len(parts) != 2:
        return Node("mrow", parts)
    lined = len(items) > len(parts)
    return Node("mfrac", parts, attrs={} if lined else {"linethickness": "0"})


@builds("sqrt")
def root(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    index = next((child for child in elements(node) if "root" in names_of(child)), None)
    body = next((child for child in elements(node) if not {"root", "sqrt-sign"} & {*names_of(child)}), None)
    items = stack(body) if body is not None else []
    inner = Node("mrow", [child for item in items for child in children(item.node, depth + 1)])
    if index is None:
        return Node("msqrt", [inner])
    label = Node("mrow", [child for item in stack(index) for child in children(item.node, depth + 1)])
    return Node("mroot", [inner, label])


@builds("accent", "accent-under", "mover", "munder")
def accent(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    """Something with a mark over or under it, or with a brace."""
    inner: list[Node] = []
    mark: str | None = None
    script: Node | None = None
    under = "munder" in kinds or "accent-under" in kinds
    for item in stack(node):
        body = next((below for below in elements(item.node) if "accent-body" in names_of(below)), None)
        drawn = None
        if body is not None:
            text = text_of(body).strip()
            drawn = _ACCENTS.get(text, text) or mark_of(body) or "→"
        elif item.node.css_first("svg") is not None and not has(item.node, "mord"):
            drawn = mark_of(item.node)
        if drawn is not None:
            mark = drawn
        elif has(item.node, *SMALL) and kinds & {"munder", "mover"}:
            script = row(item.node, depth + 1)
        else:
            inner.extend(children(item.node, depth + 1))
    base = Node("mrow", inner)
    tag = "munder" if under else "mover"
    if script is not None:
        return Node(tag, [base, script])
    if mark is None:
        return base
    stretchy = {"stretchy": "true"} if node.css_first("svg") is not None and "accent" in kinds else {}
    return Node(tag, [base, Node("mo", text=mark, attrs={} if mark == "→" else stretchy)])


@builds("overline", "underline")
def line(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    inner = [child for item in stack(node) for child in children(item.node, depth + 1)]
    over = "overline" in kinds
    return Node("mover" if over else "munder", [Node("mrow", inner), token("mo", "‾" if over else "_")])


@builds("op-limits")
def limits(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    """An operator with limits, or anything with something set over or under it."""
    base: Node | None = None
    above, below = Node("mrow"), Node("mrow")
    for item in stack(node):
        box = row(item.node, depth + 1)
        if not has(item.node, *SMALL) and base is None and (item.node.css_first(".mop") is not None or box.children):
            base = box
        elif base is None:
            above = box
        else:
            below = box
    if base is None:
        return above
    if above.children and below.children:
        return Node("munderover", [base, below, above])
    if above.children:
        return Node("mover", [base, above])
    return Node("munder", [base, below]) if below.children else base


@builds("x-arrow")
def arrow(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    """An arrow with something above it, and perhaps below."""
    arrow = "→"
    above, below = Node("mrow"), Node("mrow")
    seen = False
    for item in stack(node):
        if item.node.css_first("svg") is not None and not has(item.node, *SMALL):
            arrow = mark_of(item.node) or "→"
            seen = True
        elif seen:
            below = row(item.node, depth + 1)
        else:
            above = row(item.node, depth + 1)
    return (
        Node("munderover", [token("mo", arrow), below, above])
        if below.children
        else Node("mover", [token("mo", arrow), above])
    )


@builds("delimsizing")
def delimiter(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    fence = fence_of(node, text_of(node))
    return Node("mo", text=fence, attrs={"fence": "true"}) if fence else Node("mrow")


@builds("rlap", "llap")
def lap(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    text = text_of(node).strip()
    if any(slash in text for slash in SLASHES):
        return token("mo", SLASH)
    if text == "/" and "llap" in kinds:
        return Node("mo", text=SLASH_BEHIND)
    return row(node, depth)
