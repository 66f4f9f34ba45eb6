"""Tables, and boxes that are one stack."""

from itertools import pairwise

from selectolax.lexbor import LexborNode

from ops.extract.katex.dom import Item, elements, has, names_of, stack
from ops.extract.katex.walk import LONE_STACK, builds, children, row
from ops.extract.mathml import Node

_MATRIX_ROW = 1.3


@builds(LONE_STACK)
def stacked(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    """A box that is one stack: something boxed, struck out, or a table with lines."""
    items = stack(node)
    shown = [item for item in items if not has(item.node, "hline", "hdashline", "fbox")]
    if any(has(item.node, "fbox") for item in items):
        return Node("menclose", [row(item.node, depth) for item in shown], attrs={"notation": "box"})
    lines = [line for item in items for line in item.node.css("line")]
    content = [item for item in shown if "svg-align" not in names_of(item.node)]
    if lines:
        rising = any((line.attributes.get("y1") or "0") != "0" for line in lines)
        notation = "updiagonalstrike downdiagonalstrike" if len(lines) > 1 else "updiagonalstrike"
        notation = notation if rising or len(lines) > 1 else "downdiagonalstrike"
        return Node("menclose", [row(item.node, depth) for item in content], attrs={"notation": notation})
    for item in shown:
        table = next((below for below in item.node.traverse(include_text=False) if "mtable" in names_of(below)), None)
        if table is not None:
            rules = [other.shift - item.shift for other in items if has(other.node, "hline", "hdashline")]
            return _table(table, rules, depth)
    return Node("mrow", [child for item in content for child in children(item.node, depth)])


@builds("mtable")
def mtable(node: LexborNode, kinds: frozenset[str], depth: int) -> Node:
    return _table(node, [], depth)


def _table(node: LexborNode, rules: list[float], depth: int) -> Node:
    """A table; `rules` are the places of horizontal lines, measured as those of its rows are."""
    columns: list[list[Item]] = []
    sides: list[str] = []
    down: set[int] = set()
    spaced = False
    for child in elements(node):
        names = names_of(child)
        side = next((name for name in names if name.startswith("col-align-")), None)
        if side is not None:
            sides.append(side[-1])
            columns.append(stack(child))
        elif "vertical-separator" in names:
            down.add(len(columns))
        elif "arraycolsep" in names and len(columns) == 1:
            spaced = True
    cells = [{round(item.shift, 2): item.node for item in column} for column in columns]
    places = sorted({place for column in cells for place in column})
    rows = [
        Node("mtr", [Node("mtd", children(column[place], depth + 1) if place in column else []) for column in cells])
        for place in places
    ]
    across = {sum(place < rule for place in places) for rule in rules}
    # Rows of equations stand further apart than those of a matrix, which has one and a fifth of an em for each.
    apart = all(later - earlier > _MATRIX_ROW for earlier, later in pairwise(places))
    spaced = spaced or (len(columns) < 2 and not apart)
    alignment = {"l": "left", "c": "center", "r": "right"}
    attrs = {
        "columnalign": " ".join(alignment.get(side, "center") for side in sides),
        "columnspacing": "1em" if spaced else "0em",
        "data-down": " ".join(map(str, sorted(down))),
        "data-across": " ".join(map(str, sorted(across))),
    }
    return Node("mtable", rows, attrs=attrs)
