"""An operator applied to arguments: what is what, and how tightly it binds."""

from dataclasses import dataclass

from ops.extract.mathml.content_tables import ALIASES, ATOM, BEFORE, BOUND, INFIX, INTERVALS, OPERATORS, QUALIFIERS
from ops.extract.mathml.core import convert, innermost
from ops.extract.mathml.nodes import Node
from ops.extract.mathml.rows import row


@dataclass(frozen=True, slots=True)
class Call:
    """An operator with its arguments and qualifiers."""

    operator: Node
    name: str
    arguments: list[Node]
    qualifiers: dict[str, list[Node]]

    def qualifier(self, name: str) -> str:
        """LaTeX of the first qualifier of this name; empty when there is none."""
        found = self.qualifiers.get(name)
        return row(found[0].children).strip() if found else ""

    def variables(self) -> list[Node]:
        """The bound variables, without their degrees."""
        bound = self.qualifiers.get("bvar", [])
        return [child for bvar in bound for child in bvar.children if child.tag != "degree"]


def read_call(node: Node) -> Call:
    operator = node.children[0] if node.children else Node("mrow")
    arguments: list[Node] = []
    qualifiers: dict[str, list[Node]] = {}
    for child in node.children[1:]:
        if child.tag in QUALIFIERS:
            qualifiers.setdefault(child.tag, []).append(child)
        else:
            arguments.append(child)
    return Call(operator, _name(operator), arguments, qualifiers)


def _name(operator: Node) -> str:
    """The operator in content MathML's own vocabulary; empty for a function of the author's."""
    if operator.tag == "csymbol":
        text = operator.all_text().strip()
        name = ALIASES.get(text, text)
        return name if name in OPERATORS or name in INTERVALS else ""
    return operator.tag if operator.tag in OPERATORS else ""


def level_of(node: Node) -> int:
    """How tightly what a node writes holds together."""
    inner = innermost(node)
    if inner.tag in ("apply", "reln"):
        call = read_call(inner)
        if call.name == "minus" and len(call.arguments) == 1:
            return 6
        if call.name in INFIX and len(call.arguments) > 1:
            return INFIX[call.name][1]
        if call.name in BOUND or call.name in ("diff", "partialdiff") or call.name in BEFORE:
            return 7
        if call.name in ("forall", "exists", "lambda"):
            return 0
        return 9 if call.name in ("power", "factorial", "transpose", "inverse") else ATOM
    if inner.tag == "cn" and inner.all_text().startswith(("-", "\u2212")):
        return 6
    if inner.tag in ("bind", "lambda"):
        return 0
    return 6 if inner.tag in ("mrow", "mstyle") and len(inner.children) > 1 else ATOM


def operand(node: Node, level: int) -> str:
    latex = convert(node).strip()
    return f"({latex})" if level_of(node) < level else latex
