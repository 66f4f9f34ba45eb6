"""Elements of content MathML that are not applied to anything: sets, vectors, numbers, identifiers, constants."""

from ops.extract.mathml.content import bounded_interval, lambda_call
from ops.extract.mathml.content_calls import read_call
from ops.extract.mathml.content_tables import ALIASES, BOUND, CONSTANTS, FUNCTION_TAGS, INFIX, NAMED, OPERATORS
from ops.extract.mathml.core import convert, group, writes
from ops.extract.mathml.nodes import Node, token
from ops.extract.mathml.rows import row
from ops.extract.symbols import concatenate, text_command


@writes("lambda")
def lambda_element(node: Node) -> str:
    return lambda_call(read_call(Node("apply", [Node("lambda"), *node.children])))


@writes("set", "list")
def collection(node: Node) -> str:
    call = read_call(Node("apply", [node, *node.children]))
    opening, closing = ("\\{", "\\}") if node.tag == "set" else ("(", ")")
    inner = ", ".join(convert(argument).strip() for argument in call.arguments)
    names = ", ".join(convert(variable).strip() for variable in call.variables())
    condition = call.qualifier("condition")
    if condition:
        inner = f"{inner or names} \\mid {condition}"
    elif "domainofapplication" in call.qualifiers:
        inner = f"{inner} \\mid {names} \\in {call.qualifier('domainofapplication')}"
    return concatenate([opening, inner, closing])


@writes("interval")
def interval(node: Node) -> str:
    return bounded_interval(node.children, node.get("closure") or "closed")


@writes("vector")
def vector(node: Node) -> str:
    return "\\begin{pmatrix} " + " \\\\ ".join(convert(child).strip() for child in node.children) + " \\end{pmatrix}"


@writes("matrix")
def matrix(node: Node) -> str:
    rows = (" & ".join(convert(cell).strip() for cell in line.children) for line in node.children)
    return "\\begin{pmatrix} " + " \\\\ ".join(rows) + " \\end{pmatrix}"


@writes("piecewise")
def piecewise(node: Node) -> str:
    rows: list[str] = []
    for piece in node.children:
        parts = [convert(child).strip() for child in piece.children]
        if piece.tag == "otherwise":
            rows.append(f"{' '.join(parts)} & \\text{{otherwise}}")
        elif parts:
            condition = " ".join(parts[1:])
            rows.append(f"{parts[0]} & \\text{{if }} {condition}")
    return "\\begin{cases} " + " \\\\ ".join(rows) + " \\end{cases}"


@writes("cn")
def constant(node: Node) -> str:
    parts = [""]
    for child in node.children:
        if child.tag == "sep":
            parts.append("")
        else:
            parts[-1] += convert(Node("mn", text=child.text) if child.tag == "#text" else child).strip()
    kind = node.get("type")
    if kind == "rational" and len(parts) == 2:
        return f"\\frac{{{parts[0]}}}{{{parts[1]}}}"
    if kind == "e-notation" and len(parts) == 2:
        return f"{parts[0]} \\times 10^{group(parts[1])}"
    if kind == "complex-cartesian" and len(parts) == 2:
        return f"{parts[0]} - {parts[1][1:]}i" if parts[1].startswith("-") else f"{parts[0]} + {parts[1]}i"
    if kind == "complex-polar" and len(parts) == 2:
        return f"{parts[0]} e^{{{parts[1]} i}}"
    base = node.get("base")
    return " ".join(parts) + (f"_{{{base}}}" if base and base != "10" else "")


@writes("ci", "csymbol")
def content_identifier(node: Node) -> str:
    if node.tag == "csymbol":
        name = node.all_text().strip()
        known = CONSTANTS.get(ALIASES.get(name, name))
        if known is not None and node.get("cd") not in ("", "latexml"):
            return known
    kind = {"vector": "bold", "matrix": "bold"}.get(node.get("type"), "")
    return row([token("mi", child.text, kind) if child.tag == "#text" else child for child in node.children]).strip()


@writes(*CONSTANTS)
def content_constant(node: Node) -> str:
    return CONSTANTS[node.tag]


@writes("cs")
def content_string(node: Node) -> str:
    return text_command(node.all_text())


@writes("declare", "sep", "cbytes")
def hidden(node: Node) -> str:
    return ""


@writes(*(OPERATORS - {"set", "list", "interval", "vector", "matrix", "lambda"}))
def lone_operator(node: Node) -> str:
    """An operator that is itself an argument."""
    name = node.tag
    if name in INFIX:
        return INFIX[name][0].strip() or "\\times"
    return NAMED.get(name) or BOUND.get(name) or (f"\\{name}" if name in FUNCTION_TAGS else f"\\operatorname{{{name}}}")
