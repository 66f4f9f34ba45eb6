"""LaTeX of rows, brackets and matrices of AsciiMath."""

import re
from dataclasses import dataclass, field

_TALL = re.compile(r"\\(?:frac|sum|prod|int|oint|begin|bigcup|bigcap|bigwedge|bigvee|overset|underset)(?![A-Za-z])")
_COMMAND_END = re.compile(r"\\[A-Za-z]+$")
_MATRICES = {("(", ")"): "pmatrix", ("[", "]"): "bmatrix", ("|", "|"): "vmatrix", ("\\{", "\\}"): "Bmatrix",
             ("\\{", ""): "cases", ("", ""): "matrix"}  # fmt: skip
_RELATION = re.compile(
    r"[=<>]|:=|\\(?:not\\)?(?:ne|le|leq|ge|geq|ll|gg|prec|succ|preceq|succeq|in|notin|subset|supset|subseteq|supseteq"
    r"|equiv|cong|approx|sim|propto|implies|iff|to|mapsto|rightarrow|leftarrow|leftrightarrow|Rightarrow|Leftarrow"
    r"|Leftrightarrow|models|vdash|pm|mp|times|cdot|div|cup|cap|wedge|vee)|[-+]"
)


@dataclass(slots=True)
class Node:
    latex: str
    inner: str | None = None
    """What is between the brackets, for a bracketed expression."""
    fence: tuple[str, str] = ("", "")
    items: list["Node"] = field(default_factory=list)
    symbol: str = ""

    @property
    def argument(self) -> str:
        return self.latex if self.inner is None else self.inner


def trimmed(latex: str) -> str:
    """Without white space around it; that of a control space stays."""
    stripped = latex.strip()
    return stripped + " " if (len(stripped) - len(stripped.rstrip("\\"))) % 2 else stripped


def closed(left: str, items: list[Node], right: str) -> Node:
    """A bracketed expression, which is a matrix when it is rows in brackets."""
    rows = _matrix_rows(items)
    if rows is None:
        inner = join(items)
        return Node(fenced(left, inner, right), inner, (left, right), items)
    body = " \\\\ ".join(" & ".join(cells) for cells in rows)
    environment = _MATRICES.get((left, right))
    if environment is not None:
        return Node(f"\\begin{{{environment}}} {body} \\end{{{environment}}}")
    matrix = f"\\begin{{matrix}} {body} \\end{{matrix}}"
    return Node(f"\\left{left or '.'} {matrix} \\right{right or '.'}")


def _matrix_rows(items: list[Node]) -> list[list[str]] | None:
    rows, commas = items[::2], items[1::2]
    if not rows or len(items) % 2 == 0 or any(comma.latex != "," for comma in commas):
        return None
    fence = rows[0].fence
    if fence not in (("(", ")"), ("[", "]")) or any(row.fence != fence or row.inner is None for row in rows):
        return None
    written: list[list[str]] = []
    widths: set[int] = set()
    for row in rows:
        cells: list[list[Node]] = [[]]
        for item in row.items:
            if item.latex == ",":
                cells.append([])
            else:
                cells[-1].append(item)
        widths.add(len(cells))
        lines = [cell for cell in cells if not (len(cell) == 1 and cell[0].symbol == "|")]
        written.append([trimmed(join(cell)) for cell in lines])
    if len(widths) > 1 or (widths == {1} and len(written) == 1):
        return None
    return written


def fenced(left: str, inner: str, right: str | None) -> str:
    inner = trimmed(inner)
    if _TALL.search(inner) and right is not None:
        return f"\\left{left or '.'} {inner} \\right{right or '.'}"
    pieces = [Node(left), Node(inner), Node(right or "")]
    return "".join(_glue(pieces))


def braced(latex: str) -> str:
    latex = trimmed(latex)
    return latex if len(latex) == 1 else f"{{{latex}}}"


def _glue(nodes: list[Node]) -> list[str]:
    """Pieces with a space between a command and a letter."""
    pieces: list[str] = []
    last = ""
    for node in nodes:
        piece = node.latex
        if not piece:
            continue
        if _COMMAND_END.search(last) and piece[0].isalnum():
            pieces.append(" ")
        pieces.append(piece)
        last = piece[-40:]
    return pieces


def join(nodes: list[Node]) -> str:
    spaced: list[Node] = []
    for index, node in enumerate(nodes):
        infix = 0 < index < len(nodes) - 1 and _RELATION.fullmatch(node.latex) is not None
        if infix and not _RELATION.fullmatch(nodes[index - 1].latex) and nodes[index - 1].latex not in (",", ""):
            spaced.append(Node(f" {node.latex} "))
        elif node.latex == "," and index < len(nodes) - 1:
            spaced.append(Node(", "))
        else:
            spaced.append(node)
    return re.sub(r" {2,}", " ", "".join(_glue(spaced)))
