"""Boxes to MathML: each box by its name, what is in it in turn."""

import re
from html import escape
from itertools import islice

from selectolax.lexbor import LexborNode

from ops.extract.mathjax.boxes import (
    LONGEST_DEPTH,
    NOTHING,
    PARTS,
    SCRIPTS,
    TOKENS,
    boxes_below,
    child_elements,
    kind_of,
)
from ops.extract.mathjax.tables import cells_of, labels_of, rows_of
from ops.extract.mathjax.tokens import LETTERS, PRIVATE, join_letters, token_markup

MOST_BOXES = 20_000
_WIDTH = re.compile(r"(?<![-\w])(?:width|margin-left):\s*(-?[\d.]+)em")
_TEXT_ALIGN = re.compile(r"text-align:\s*(left|right|center)")
_MARKUP = re.compile(r"<[^>]*>")
_LINES = frozenset("–—―‒")
_OFFSET = re.compile(r"translate\(\s*-?[\d.e]+(?:[\s,]+(-?[\d.e]+))?")


def is_too_large(boxes: LexborNode) -> bool:
    """Whether there are more than `MOST_BOXES` boxes."""
    return next(islice(boxes.traverse(include_text=False), MOST_BOXES, None), None) is not None


def boxes_to_mathml(boxes: LexborNode) -> str | None:
    """A `<math>` element of what MathJax drew below `boxes`; None when it holds no character."""
    parts = boxes_below(boxes)
    if len(parts) == 1 and parts[0][0] == "math":
        parts = boxes_below(parts[0][1])
    whole = len(parts) == 1 and parts[0][0] == "mtable"
    inner = _table(parts[0][1], 1, whole=True) if whole else _row(parts, 0)
    return f"<math>{inner}</math>" if re.search(r">[^<]", inner) else None


def _row(parts: list[tuple[str, LexborNode]], depth: int) -> str:
    return "".join(_convert(kind, node, depth) for kind, node in parts)


def _group(parts: list[tuple[str, LexborNode]], depth: int) -> str:
    """Exactly one element."""
    if len(parts) == 1 and parts[0][0] in TOKENS:
        converted = _convert(*parts[0], depth)
        if converted:
            return converted
    return f"<mrow>{_row(parts, depth)}</mrow>"


def _convert(kind: str, node: LexborNode, depth: int) -> str:
    if depth > LONGEST_DEPTH:
        return ""
    if kind in TOKENS:
        return token_markup(kind, node)
    if kind in SCRIPTS:
        return _scripted(kind, node, depth + 1)
    if kind == "mfrac":
        return _fraction(node, depth + 1)
    if kind in ("msqrt", "mroot"):
        return _root(kind, node, depth + 1)
    if kind == "mtable":
        return _table(node, depth + 1)
    if kind == "mspace":
        width = _WIDTH.search(node.attributes.get("style") or "")
        return f'<mspace width="{width.group(1)}em"></mspace>' if width else ""
    if kind == "mmultiscripts":
        return _multiscripts(node, depth + 1)
    if kind == "mphantom":
        return f"<mphantom>{_row(boxes_below(node), depth + 1)}</mphantom>"
    if kind == "menclose":
        return _enclose(node, depth + 1)
    parts = boxes_below(node)
    if len(parts) == 1:
        return _convert(*parts[0], depth + 1)
    return f"<mrow>{LETTERS.sub(join_letters, _row(parts, depth + 1))}</mrow>"


def _height(node: LexborNode) -> float:
    """How far above the line an SVG box is."""
    height = 0.0
    for match in _OFFSET.finditer(node.attributes.get("transform") or ""):
        try:
            height += float(match.group(1) or 0)
        except ValueError:
            return height
    return height


def _scripted(kind: str, node: LexborNode, depth: int) -> str:
    base: list[tuple[str, LexborNode]] = []
    parts: dict[str, list[tuple[str, LexborNode]]] = {}
    above, below = ("over", "under") if kind.startswith(("mu", "mo")) else ("sup", "sub")
    pending = boxes_below(node)
    if kind == "munderover" and any(part == "over" for part, _ in pending):
        inner = next((child for part, child in pending if part == "munder"), None)
        if inner is not None and not any(part in ("base", "op") for part, _ in pending):
            pending = [item for item in pending if item[1].mem_id != inner.mem_id] + boxes_below(inner)
    svg = node.tag == "g"
    for part, child in pending:
        if part in ("base", "op"):
            base += boxes_below(child)
        elif part in ("sub", "sup", "over", "under"):
            parts[part] = boxes_below(child)
        elif part == "script":
            upper, lower = _split_script(child)
            if lower is None:
                parts[above if kind in ("msup", "mover") else below] = upper
            else:
                parts[above], parts[below] = upper, lower
        elif svg and base:
            if kind in ("msup", "mover"):
                parts[above] = [(part, child)]
            elif kind in ("msub", "munder"):
                parts[below] = [(part, child)]
            else:
                parts[above if _height(child) > 0 and above not in parts else below] = [(part, child)]
        else:
            base.append((part, child))
    pieces = [_group(base, depth)]
    lower, upper = parts.get("under") or parts.get("sub"), parts.get("over") or parts.get("sup")
    limits = "over" in parts or "under" in parts
    if lower:
        pieces.append(_group(lower, depth))
    if upper:
        pieces.append(_group(upper, depth))
    if kind in ("mover", "munder", "munderover"):
        pieces = [_mark(piece, over=index == len(pieces) - 1 and bool(upper)) if index else piece
                  for index, piece in enumerate(pieces)]  # fmt: skip
    if lower and upper:
        tag = "munderover" if limits else "msubsup"
    elif lower or upper:
        tag = ("mover" if upper else "munder") if limits else ("msup" if upper else "msub")
    else:
        return pieces[0]
    return f"<{tag}>{''.join(pieces)}</{tag}>"


def _mark(piece: str, *, over: bool) -> str:
    """A line or a brace above or below is drawn from dashes, or from characters of no standing."""
    text = _MARKUP.sub("", piece).strip()
    if text in _LINES:
        return f"<mo>{'‾' if over else '_'}</mo>"
    if PRIVATE.search(text) and not PRIVATE.sub("", text).strip():
        return f"<mo>{'⏞' if over else '⏟'}</mo>"
    return piece


def _split_script(script: LexborNode) -> tuple[list[tuple[str, LexborNode]], list[tuple[str, LexborNode]] | None]:
    """What is above and below the spacer of a `mjx-script`; None when there is no spacer."""
    upper: list[tuple[str, LexborNode]] = []
    lower: list[tuple[str, LexborNode]] | None = None
    for child in child_elements(script):
        kind = kind_of(child)
        if kind == "spacer":
            lower = []
        elif kind in PARTS:
            (upper if lower is None else lower).append((kind, child))
        elif kind not in NOTHING:
            (upper if lower is None else lower).extend(boxes_below(child))
    return upper, lower


def _fraction(node: LexborNode, depth: int) -> str:
    above = below = None
    parts = boxes_below(node)
    for part, child in parts:
        if part in ("num", "numerator"):
            above = boxes_below(child)
        elif part in ("den", "denominator"):
            below = boxes_below(child)
    markup = node.html or ""
    if above is None or below is None:
        if len(parts) != 2:
            return f"<mrow>{_row(parts, depth)}</mrow>"
        above, below = [parts[0]], [parts[1]]
        line = any(child.tag == "rect" for child in child_elements(node))
    else:
        line = "mjx-line" in _own_line(node, markup)
    thickness = "" if line else ' linethickness="0"'
    return f"<mfrac{thickness}>{_group(above, depth)}{_group(below, depth)}</mfrac>"


def _own_line(node: LexborNode, markup: str) -> str:
    """The names of the boxes of a fraction itself, not of what is in it."""
    if node.tag == "mjx-mfrac":
        return "" if re.match(r"<mjx-mfrac[^>]*>\s*<mjx-frac[^>]*\batop\b", markup) else "mjx-line"
    pending, names = child_elements(node), []
    while pending:
        child = pending.pop()
        kind = kind_of(child)
        names.append(f"mjx-{kind}")
        if kind not in PARTS:
            pending += child_elements(child)
    return " ".join(names)


def _root(kind: str, node: LexborNode, depth: int) -> str:
    index: list[tuple[str, LexborNode]] = []
    inner: list[tuple[str, LexborNode]] = []
    if node.tag == "g":
        for child in child_elements(node):
            part = kind_of(child)
            if part == "":
                inner += boxes_below(child) if child.tag == "g" else []
            elif part != "mo" or "√" not in token_markup("mo", child):
                index.append((part, child))
    else:
        for part, child in boxes_below(node):
            if part == "root":
                index = boxes_below(child)
            else:
                inner.append((part, child))
    if kind == "mroot" and index:
        return f"<mroot>{_group(inner, depth)}{_group(index, depth)}</mroot>"
    return f"<msqrt>{_row(inner, depth)}</msqrt>"


def _table(node: LexborNode, depth: int, *, whole: bool = False) -> str:
    rows = [cells_of(row) for row in rows_of(node)]
    labels = labels_of(node)
    if len(labels) != len(rows):
        labels = []
    width = max(map(len, rows), default=0)
    widest = next((row for row in rows if len(row) == width), [])
    sides = [_TEXT_ALIGN.search(cell.attributes.get("style") or "") for cell in widest]
    columns = " ".join(side.group(1) if side else "center" for side in sides) if any(sides) else ""
    if whole and not columns and width % 2 == 0 and node.tag == "g":
        columns = " ".join(["right left"] * (width // 2))  # SVG does not tell
    align = f' columnalign="{columns}"' if columns else ""
    if columns and width % 2 == 0 and columns == " ".join(["right left"] * (width // 2)):
        align += ' displaystyle="true"'
    written = []
    for index, row in enumerate(rows):
        cells = "".join(f"<mtd>{_row(boxes_below(cell), depth)}</mtd>" for cell in row)
        if labels:
            written.append(f"<mlabeledtr><mtd><mtext>{escape(labels[index])}</mtext></mtd>{cells}</mlabeledtr>")
        else:
            written.append(f"<mtr>{cells}</mtr>")
    return f"<mtable{align}>{''.join(written)}</mtable>"


def _multiscripts(node: LexborNode, depth: int) -> str:
    base: list[tuple[str, LexborNode]] = []
    before, after = "", ""
    for part, child in boxes_below(node):
        if part in ("prescripts", "scripts"):
            rows = [row for row in child_elements(child) if kind_of(row) == "row" and child_elements(row)]
            cells = [[cell for cell in child_elements(row) if kind_of(cell) == "cell"] for row in rows]
            cells = [row for row in cells if row]
            if len(cells) == 2:
                pairs = "".join(
                    _group(boxes_below(lower), depth) + _group(boxes_below(upper), depth)
                    for upper, lower in zip(*cells, strict=False)
                )
                before, after = (pairs, after) if part == "prescripts" else (before, pairs)
        else:
            base.append((part, child))
    pre = f"<mprescripts></mprescripts>{before}" if before else ""
    return f"<mmultiscripts>{_group(base, depth)}{after}{pre}</mmultiscripts>"


def _enclose(node: LexborNode, depth: int) -> str:
    inner = _row(boxes_below(node), depth)
    kinds = [kind_of(child) for child in child_elements(node)]
    style = next((child.attributes.get("style") or "" for child in child_elements(node)), "")
    if any(kind in ("dstrike", "ustrike") for kind in kinds):
        return f'<menclose notation="updiagonalstrike">{inner}</menclose>'
    if re.search(r"\bborder:", style) or (
        node.tag == "g" and any(child.tag == "rect" for child in child_elements(node))
    ):
        return f'<menclose notation="box">{inner}</menclose>'
    return f"<mrow>{inner}</mrow>"
