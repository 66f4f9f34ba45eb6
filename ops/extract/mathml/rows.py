"""Elements side by side: the spaces around operators, fences and what only its neighbours make what it is."""

import re

from ops.extract.mathml.core import convert, innermost, operator_text, writes
from ops.extract.mathml.nodes import GROUPS, Node, token
from ops.extract.mathml.tables import MATRICES, table
from ops.extract.symbols import BINARY, RELATIONS, concatenate, symbol, symbols

OPENING = frozenset(["(", "[", "{", "⟨", "⌈", "⌊", "⟦", "〈", "⟮", "〚"])
CLOSING = frozenset([")", "]", "}", "⟩", "⌉", "⌋", "⟧", "〉", "⟯", "〛"])
BARS = frozenset(["|", "‖", "∥", "∣", "||"])
_NO_OPERAND = OPENING | RELATIONS | BINARY | {",", ";"}
"""Behind one of these an operator is a sign."""
_TALL = re.compile(r"\\(?:d?frac|sum|prod|int|begin|bigcup|bigcap|binom|over|atop|sqrt\[)(?![A-Za-z])")
_STACKED = {"(": "binom", "[": "brack", "{": "brace"}
_CLOSING_OF = {"(": ")", "[": "]", "{": "}"}
_ZERO_WIDTH = re.compile(r"[+-]?0+(?:\.0*)?\s*[a-z%]*")
_LONGEST_MODULUS = 40
_SPACES = frozenset(["mspace"])


@writes(*GROUPS)
def group_of(node: Node) -> str:
    return row(node.children)


def row(nodes: list[Node]) -> str:
    """LaTeX of elements side by side."""
    pieces: list[str] = []
    index = 0
    last = len(nodes) - 1
    before = ""
    while index <= last:
        node = nodes[index]
        text = operator_text(node)
        if index < last and (text or node.tag in GROUPS):
            special = _special(nodes, index)
            if special is not None:
                if special[0].startswith("\\pmod"):  # which brings its own space
                    for space in reversed(nodes[:index]):
                        if space.tag != "mspace" or not pieces:
                            break
                        pieces.pop()
                pieces.append(special[0])
                index = special[1]
                before = ""
                continue
        latex = convert(node)
        if text in RELATIONS:
            if index < last and before not in _NO_OPERAND:
                latex = f" {latex.strip()} "
        elif text in BINARY:
            if 0 < index < last and before not in _NO_OPERAND:
                latex = f" {latex.strip()} "
        elif text in (",", ";") and index < last:
            latex = f"{text} "
        if latex == "\\not " and pieces:  # the slash stands behind what it goes through
            pieces.insert(len(pieces) - 1, latex)
        else:
            pieces.append(latex)
        before = text
        index += 1
    joined = concatenate(pieces)
    if len(nodes) >= 3:
        joined = _fenced(joined, operator_text(nodes[0]), operator_text(nodes[-1]))
    return joined


def _special(nodes: list[Node], index: int) -> tuple[str, int] | None:
    """What the element at `index` begins with those behind it, and where it ends."""
    fence = operator_text(innermost(nodes[index]))
    if not fence or not (fence in OPENING or fence in BARS):
        return None
    following = innermost(nodes[index + 1])
    behind = operator_text(innermost(nodes[index + 2])) if index + 2 < len(nodes) else None
    if following.tag == "mtable":
        opening = symbol(fence).strip() if len(fence) == 1 else "\\|"
        closing = symbol(behind).strip() if behind is not None and len(behind) == 1 else None
        environment = MATRICES.get((opening, closing)) if closing else None
        if environment:
            return table(following, fences=(opening, closing or "", environment)), index + 3
        if opening == "\\{" and not (behind in CLOSING or behind in BARS):
            return table(following, fences=(opening, "", "cases")), index + (3 if behind == "" else 2)
        return None
    if behind is not None and behind == _CLOSING_OF.get(fence) and is_stacked(following):
        top, bottom = (convert(child).strip() for child in following.children)
        if fence == "(":
            return f"\\binom{{{top}}}{{{bottom}}}", index + 3
        return f"{{{top} \\{_STACKED[fence]} {bottom}}}", index + 3
    nested = following.children if following.tag in GROUPS else []
    if fence == "(" and (following.text == "mod" or (nested and nested[0].text == "mod")):
        span = range(index + 2, min(len(nodes), index + 2 + _LONGEST_MODULUS))
        end = next((at for at in span if operator_text(innermost(nodes[at])) == ")"), None)
        inner = [*nested[1:], *nodes[index + 2 : end]] if end is not None else []
        if end is not None and not any(operator_text(node) == "(" for node in inner):
            return f"\\pmod{{{row([node for node in inner if node.tag not in _SPACES]).strip()}}}", end + 1
    return None


def is_stacked(node: Node) -> bool:
    """A fraction without its line."""
    return (
        node.tag == "mfrac"
        and len(node.children) == 2
        and _ZERO_WIDTH.fullmatch(node.get("linethickness").strip()) is not None
    )


def _fenced(latex: str, first: str, last: str) -> str:
    """A row between fences: `\\left..\\right` around what is tall."""
    if not (first in OPENING or first in BARS) or not (last in CLOSING or last in BARS):
        return latex
    stripped, opening, closing = latex.strip(), symbols(first).strip(), symbols(last).strip()
    if not (stripped.startswith(opening) and stripped.endswith(closing)):
        return latex
    inner = stripped[len(opening) : -len(closing)].strip()
    if not _TALL.search(inner):
        return latex
    return f"\\left{fence_command(first)} {inner} \\right{fence_command(last)}"


def fence_command(text: str) -> str:
    """A fence as `\\left` takes it; `.` for none."""
    if text in ("∣", "|"):
        return "|"
    if text in ("‖", "∥", "||"):
        return "\\|"
    return symbol(text).strip() if len(text) == 1 else "."


@writes("mfenced")
def fenced(node: Node) -> str:
    opening = "(" if "open" not in node.attrs else node.get("open").strip()
    closing = ")" if "close" not in node.attrs else node.get("close").strip()
    separators = "," if "separators" not in node.attrs else node.get("separators").replace(" ", "")
    content: list[Node] = []
    for index, child in enumerate(node.children):
        if index and separators:
            content.append(token("mo", separators[min(index - 1, len(separators) - 1)]))
        content.append(child)
    fences = (symbols(opening).strip(), symbols(closing).strip())
    inner = innermost(node.children[0]) if len(node.children) == 1 else None
    if inner is not None and inner.tag == "mtable" and fences in MATRICES:
        return table(inner, fences=(*fences, MATRICES[fences]))
    if opening and closing:
        return row([token("mo", opening), *content, token("mo", closing)])
    latex = row(content).strip()
    if not opening and not closing:
        return latex
    return f"\\left{fence_command(opening)} {latex} \\right{fence_command(closing)}"
