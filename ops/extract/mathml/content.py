"""Content MathML: operators applied to arguments, with parentheses where the operators bind too loosely."""

from ops.extract.mathml.content_calls import Call, level_of, operand, read_call
from ops.extract.mathml.content_tables import (
    ATOM,
    BEFORE,
    BEHIND,
    BETWEEN,
    BOUND,
    FUNCTION_TAGS,
    INFIX,
    INTERVALS,
    NAMED,
)
from ops.extract.mathml.core import convert, group, innermost, writes
from ops.extract.mathml.nodes import Node
from ops.extract.mathml.rows import row
from ops.extract.symbols import concatenate

_NOT_ASSOCIATIVE = frozenset(["minus", "rem", "setdiff", "implies", "vectorproduct"])
_CLOSURES = {"open": "()", "open-closed": "(]", "closed-open": "[)", "closed": "[]"}


@writes("apply", "reln", "bind")
def apply(node: Node) -> str:
    call = read_call(node)
    name, arguments = call.name, call.arguments
    if name in INFIX and arguments:
        return _infix(call)
    if name in _NOTATIONS:
        return _NOTATIONS[name](call)
    if name in BOUND:
        return _bound(call)
    if name in BETWEEN and len(arguments) == 1:
        opening, closing = BETWEEN[name]
        return f"{opening}{convert(arguments[0]).strip()}{closing}"
    if name in BEHIND and len(arguments) == 1:
        return operand(arguments[0], ATOM) + BEHIND[name]
    if name in BEFORE and len(arguments) == 1:
        return BEFORE[name] + operand(arguments[0], 8)
    if name in INTERVALS:
        return bounded_interval(arguments, INTERVALS[name])
    return _function(call)


def _infix(call: Call) -> str:
    mark, level = INFIX[call.name]
    if len(call.arguments) == 1:
        only = operand(call.arguments[0], level + 1)
        return f"-{only}" if call.name == "minus" else only
    pieces = [_beside(call.arguments[0], call.name, level + (call.name == "implies"))]
    for argument in call.arguments[1:]:
        latex = _beside(argument, call.name, level + (call.name in _NOT_ASSOCIATIVE))
        if call.name == "plus" and latex.startswith("-"):
            pieces.append(f" - {latex[1:].strip()}")
            continue
        if call.name == "times" and (latex[:1].isdigit() or (latex.startswith("\\frac") and pieces[-1][-1:].isdigit())):
            pieces.append(" \\cdot ")
        elif mark:
            pieces.append(mark)
        pieces.append(latex)
    return concatenate(pieces)


def _beside(argument: Node, name: str, level: int) -> str:
    """An argument of an operator that stands between its arguments."""
    inner = innermost(argument)
    other = read_call(inner).name if inner.tag in ("apply", "reln") else name
    mixed = other != name and name not in ("plus", "minus", "times") and INFIX.get(other, ("", ATOM))[1] == level
    return operand(argument, level + 1 if mixed else level)


def _function(call: Call, power: str = "") -> str:
    """A function before its arguments."""
    operator = call.operator
    if call.name in NAMED:
        head = NAMED[call.name]
    elif call.name in FUNCTION_TAGS:
        head = f"\\{call.name}"
    else:
        head = convert(operator).strip()
        if level_of(operator) < ATOM:
            head = f"({head})"
    base = call.qualifier("logbase")
    if call.name == "log" and base:
        head += f"_{group(base)}"
    below = call.qualifier("condition") or ", ".join(convert(variable).strip() for variable in call.variables())
    if call.name in ("max", "min") and below:
        return concatenate([f"{head}_{{{below}}} ", *(operand(argument, 7) for argument in call.arguments)])
    head += power
    known = call.name in FUNCTION_TAGS or call.name in NAMED
    if known and len(call.arguments) == 1 and level_of(call.arguments[0]) >= 9:
        return concatenate([f"{head} ", convert(call.arguments[0]).strip()])
    bound = "".join(f"_{{{convert(variable).strip()}}}" for variable in call.variables()[:1])
    if not call.arguments:
        return head + bound
    return f"{head}{bound}(" + ", ".join(convert(argument).strip() for argument in call.arguments) + ")"


def _bound(call: Call) -> str:
    """Sums, products, integrals and limits with what is below and above them."""
    names = ", ".join(convert(variable).strip() for variable in call.variables())
    low, high = call.qualifier("lowlimit"), call.qualifier("uplimit")
    condition = call.qualifier("condition")
    arguments = list(call.arguments)
    domain = call.qualifiers.get("domainofapplication", [])
    if len(arguments) > 1 and arguments[0].tag == "interval":
        domain = [Node("domainofapplication", [arguments.pop(0)])]
    if domain:
        inner = innermost(domain[0].children[0]) if domain[0].children else Node("mrow")
        if inner.tag == "interval" and len(inner.children) == 2:
            low, high = (convert(child).strip() for child in inner.children)
        else:
            low = row(domain[0].children).strip()
            low = f"{names} \\in {low}" if names and call.name != "int" else low
            names = names if call.name == "int" else ""
    if call.name == "limit":
        below = condition or (f"{names} \\to {low}" if low else names)
    elif call.name == "int":
        below = low or condition
    else:
        below = condition or (f"{names} = {low}" if names and low else low or names)
    head = BOUND[call.name] + (f"_{{{below}}}" if below else "") + (f"^{{{high}}}" if high else "")
    body = ", ".join(operand(argument, 7) for argument in arguments)
    tail = f"\\,d{names}" if call.name == "int" and names else ""
    return concatenate([head, " ", body, tail])


def _divide(call: Call) -> str:
    top, bottom = ([convert(argument).strip() for argument in call.arguments] + ["", ""])[:2]
    return f"\\frac{{{top}}}{{{bottom}}}"


def _power(call: Call) -> str:
    if len(call.arguments) != 2:
        return _function(call)
    base, exponent = call.arguments
    raised = f"^{group(convert(exponent))}"
    inner = innermost(base)
    if inner.tag == "apply":
        below = read_call(inner)
        if below.name in FUNCTION_TAGS and below.name not in ("exp", "max", "min", "gcd"):
            return _function(below, raised)
    return operand(base, ATOM) + raised


def _root(call: Call) -> str:
    inner = convert(call.arguments[0]).strip() if call.arguments else ""
    degree = call.qualifier("degree") or (convert(call.arguments[1]).strip() if len(call.arguments) > 1 else "")
    return f"\\sqrt[{degree}]{{{inner}}}" if degree not in ("", "2") else f"\\sqrt{{{inner}}}"


def _quotient(call: Call) -> str:
    return "\\lfloor " + " / ".join(operand(argument, 8) for argument in call.arguments) + " \\rfloor"


def _diff(call: Call) -> str:
    letter = "d" if call.name == "diff" else "\\partial "
    body = " ".join(operand(argument, 8) for argument in call.arguments)
    bound = call.qualifiers.get("bvar", [])
    if not bound:
        if call.name == "diff":
            return (body if len(body) == 1 else f"({body})") + "'"
        return concatenate([f"D_{{{convert(call.arguments[0]).strip()}}} ", *map(convert, call.arguments[1:])])
    below: list[str] = []
    degrees: list[str] = []
    for bvar in bound:
        degree = next((row(child.children).strip() for child in bvar.children if child.tag == "degree"), "")
        variable = row([child for child in bvar.children if child.tag != "degree"]).strip()
        below.append(concatenate([letter, variable]) + (f"^{group(degree)}" if degree else ""))
        degrees.append(degree or "1")
    total = call.qualifier("degree")
    if not total:
        numbers = all(degree.isdigit() for degree in degrees)
        total = str(sum(map(int, degrees))) if numbers else " + ".join(degrees)
    top = letter.strip() + (f"^{group(total)} " if total != "1" else "")
    over = f"\\frac{{{concatenate([top, body])}}}" if len(body) < 12 else f"\\frac{{{top.strip()}}}"
    return f"{over}{{{' '.join(below)}}}" + ("" if len(body) < 12 else f" {body}")


def _quantifier(call: Call) -> str:
    names = ", ".join(convert(variable).strip() for variable in call.variables())
    body = ", ".join(convert(argument).strip() for argument in call.arguments)
    domain = call.qualifier("domainofapplication")
    condition = call.qualifier("condition") or (f"{names} \\in {domain}" if domain else names)
    return concatenate([f"\\{call.name} ", condition, " : " if body else "", body])


def _selector(call: Call) -> str:
    inner, *indices = [convert(argument).strip() for argument in call.arguments] or [""]
    return f"{inner}_{{{', '.join(indices)}}}"


def _moment(call: Call) -> str:
    inner = ", ".join(convert(argument).strip() for argument in call.arguments)
    return f"\\langle {inner}^{{{call.qualifier('degree')}}} \\rangle"


def lambda_call(call: Call) -> str:
    names = ", ".join(convert(variable).strip() for variable in call.variables())
    body = ", ".join(convert(argument).strip() for argument in call.arguments)
    return f"{names} \\mapsto {body}" if len(call.variables()) < 2 else f"({names}) \\mapsto {body}"


def _constructor(call: Call) -> str:
    return convert(Node(call.name, [*call.arguments, *(item for found in call.qualifiers.values() for item in found)]))


_NOTATIONS = {
    "divide": _divide, "power": _power, "root": _root, "quotient": _quotient, "diff": _diff, "partialdiff": _diff,
    "forall": _quantifier, "exists": _quantifier, "selector": _selector, "moment": _moment, "lambda": lambda_call,
    "set": _constructor, "list": _constructor, "interval": _constructor, "vector": _constructor,
    "matrix": _constructor,
}  # fmt: skip


def bounded_interval(ends: list[Node], closure: str) -> str:
    fences = _CLOSURES.get(closure, "[]")
    return fences[0] + ", ".join(convert(end).strip() for end in ends) + fences[1]
