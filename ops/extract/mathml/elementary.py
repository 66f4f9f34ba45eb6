"""Elementary arithmetic (MathML 3, section 3.6): stacks and long division, as right-aligned columns."""

from ops.extract.mathml.core import convert, writes
from ops.extract.mathml.nodes import Node
from ops.extract.mathml.rows import row

_SILENT = frozenset(["mscarries", "mscarry"])


def _lines(node: Node) -> list[str]:
    lines: list[str] = []
    for child in node.children:
        if child.tag in _SILENT:
            continue
        if child.tag == "msline":
            lines.append("\\hline")
        elif child.tag in ("msgroup", "mstack"):
            lines.extend(_lines(child))
        else:
            lines.append(convert(child).strip())
    return lines


def _array(lines: list[str]) -> str:
    body = ""
    for index, line in enumerate(lines):
        last = index == len(lines) - 1
        body += f"{line} " if line == "\\hline" or last else f"{line} \\\\ "
    return f"\\begin{{array}}{{r}} {body}\\end{{array}}"


@writes("mstack")
def stack(node: Node) -> str:
    return _array(_lines(node))


@writes("mlongdiv")
def long_division(node: Node) -> str:
    """Divisor, quotient, dividend and the steps below it."""
    if len(node.children) < 3:
        return row(node.children)
    divisor, quotient = (convert(child).strip() for child in node.children[:2])
    steps = _lines(Node("mstack", node.children[2:]))
    return _array([quotient, f"{divisor} \\enclose{{longdiv}}{{{steps[0] if steps else ''}}}", *steps[1:]])


@writes("msrow", "msgroup")
def stack_row(node: Node) -> str:
    return row(node.children)


@writes("msline", "mscarries", "mscarry")
def drawn(node: Node) -> str:
    return ""
