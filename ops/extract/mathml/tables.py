"""Tables: matrices, cases, aligned equations and arrays with lines."""

import re
from collections.abc import Iterator

from ops.extract.mathml.core import convert, writes
from ops.extract.mathml.nodes import Node

MATRICES = {
    ("(", ")"): "pmatrix",
    ("[", "]"): "bmatrix",
    ("|", "|"): "vmatrix",
    ("\\mid", "\\mid"): "vmatrix",
    ("\\|", "\\|"): "Vmatrix",
    ("\\parallel", "\\parallel"): "Vmatrix",
    ("\\{", "\\}"): "Bmatrix",
    ("\\{", ""): "cases",
}
_LEFT_RIGHT = {"pmatrix": "()", "bmatrix": "[]", "vmatrix": "||", "Vmatrix": ("\\|", "\\|"), "Bmatrix": ("\\{", "\\}")}
_ROWS = frozenset(["mtr", "mlabeledtr", "tr"])
_GLUE = re.compile(r"\b(?:mtr-glue|mml-eqn-num|tml-tageqn|tml-tag|tml-eqn)\b")
_TEXT_ALIGN = re.compile(r"text-align:\s*(left|right|center)")
_SIDES = re.compile(r"\b(?:tml|ltx_align)[-_](left|right|center)\b")


def table(node: Node, fences: tuple[str, str, str] | None = None) -> str:
    """LaTeX of an `<mtable>`, with the fences around it (opening, closing and the environment that has them)."""
    rows: list[list[Node]] = []
    tags: list[str] = []
    for source in node.children:
        if source.tag not in _ROWS:
            continue
        cells = list(source.children)
        tag = ""
        if source.tag == "mlabeledtr" and cells:
            tag = cells.pop(0).all_text().strip("() ")
        glue = [cell for cell in cells if _GLUE.search(cell.get("class")) or "width:50%" in cell.get("style")]
        kept = [cell for cell in cells if cell not in glue]
        tag = tag or "".join(cell.all_text() for cell in glue).strip("() ")
        rows.append(kept)
        tags.append(tag)
    latex = [[convert(cell).strip() for cell in cells] for cells in rows]
    sides = list(_sides(node, rows))
    lines = _lines(node, len(sides), len(rows))
    if fences is None and len(rows) == len(sides) == 1 and lines is None and node.get("displaystyle") != "false":
        return latex[0][0] + (f" \\tag{{{tags[0]}}}" if tags[0] else "")
    environment, spec = _environment(node, latex, sides, lines, fences)
    if any(tags):  # which only these environments take
        environment, spec = ("gather*" if len(sides) < 2 else "align*"), ""
    aligned = environment in ("aligned", "gathered", "cases", "align*")
    written: list[str] = []
    for index, cells in enumerate(latex):
        while aligned and len(cells) > 1 and not cells[-1]:
            cells.pop()
        tag = f" \\tag{{{tags[index]}}}" if tags[index] else ""
        rule = "\\hline " if spec and lines is not None and index in lines[1] else ""
        written.append(rule + " & ".join(cells) + tag)
    end = " \\\\ \\hline" if spec and lines is not None and len(rows) in lines[1] else ""
    body = f"\\begin{{{environment}}}{spec} " + " \\\\ ".join(written) + f"{end} \\end{{{environment}}}"
    if fences is not None and environment == "array":
        opening, closing = fences[0], fences[1] or "."
        return f"\\left{opening} {body} \\right{closing}"
    return body


def _sides(node: Node, rows: list[list[Node]]) -> Iterator[str]:
    """The alignment of each column: `l`, `c`, `r`, or empty where nothing says it."""
    width = max((len(cells) for cells in rows), default=0)
    columns = node.get("columnalign").split()
    for column in range(width):
        side = columns[min(column, len(columns) - 1)] if columns else ""
        if not side:
            found = {_cell_side(cells[column]) for cells in rows if column < len(cells) and cells[column].attrs}
            found.discard("")
            side = found.pop() if len(found) == 1 else ""
        yield side[:1]


def _cell_side(cell: Node) -> str:
    side = cell.get("columnalign")
    if side:
        return side
    match = _TEXT_ALIGN.search(cell.get("style")) or _SIDES.search(cell.get("class"))
    return match.group(1) if match else ""


def _lines(node: Node, width: int, height: int) -> tuple[set[int], set[int]] | None:
    """Between which columns and rows there are lines (0: before the first one); None when there are none."""
    if "data-across" in node.attrs:  # every line by its place, from boxes
        down, across = ({int(at) for at in node.get(name).split()} for name in ("data-down", "data-across"))
        return (down, across) if across or down else None
    across = _ruled(node.get("rowlines"), height)
    down = _ruled(node.get("columnlines"), width)
    frame = node.get("frame")
    if frame in ("solid", "dashed"):
        across |= {0, height}
        down |= {0, width}
    return (down, across) if across or down else None


def _ruled(words: str, count: int) -> set[int]:
    kinds = words.split()
    return {at for at in range(1, count) if kinds and kinds[min(at - 1, len(kinds) - 1)] in ("solid", "dashed")}


def _environment(
    node: Node,
    latex: list[list[str]],
    sides: list[str],
    lines: tuple[set[int], set[int]] | None,
    fences: tuple[str, str, str] | None,
) -> tuple[str, str]:
    """The environment and, for `array`, its columns."""
    # MathJax, KaTeX and LaTeXML all give a `matrix` the centred columns that an `array` may have.
    chosen = all(sides) and bool(sides) and set(sides) != {"c"}
    if lines is not None or (fences is not None and chosen and node.get("rowspacing") == "4pt"):
        return "array", _columns(sides, lines)
    if fences is not None:
        return fences[2], ""
    several = len(sides) > 1
    display = node.get("displaystyle") == "true" or node.get("width") == "100%"
    tight = node.get("columnspacing").startswith("0")
    alternating = all(side == "rl"[index % 2] for index, side in enumerate(sides))
    if not {"align", "aligned", "split", "tml-jot"}.isdisjoint(node.get("class").split()):
        return "aligned", ""
    if alternating and sides and (display or tight):
        return ("aligned" if several else "gathered"), ""
    if several and display and any(len(cells) > 1 for cells in latex):
        return "aligned", ""
    if display or (tight and not several):
        return "gathered", ""
    return ("array", _columns(sides, None)) if chosen else ("matrix", "")


def _columns(sides: list[str], lines: tuple[set[int], set[int]] | None) -> str:
    down = lines[0] if lines is not None else set()
    spec = "".join(("|" if at in down else "") + (side or "c") for at, side in enumerate(sides))
    return "{" + spec + ("|" if len(sides) in down else "") + "}"


@writes("mtable")
def mtable(node: Node) -> str:
    return table(node)


@writes("mtr", "mlabeledtr")
def lone_row(node: Node) -> str:
    return " & ".join(convert(cell).strip() for cell in node.children)
