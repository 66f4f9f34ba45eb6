"""The converter's centre: which function writes which element."""

from collections.abc import Callable

from ops.extract.mathml.nodes import GROUPS, Node

Handler = Callable[[Node], str]
HANDLERS: dict[str, Handler] = {}


def writes(*tags: str) -> Callable[[Handler], Handler]:
    """Register a function that writes the elements of these names."""

    def register(function: Handler) -> Handler:
        for tag in tags:
            HANDLERS[tag] = function
        return function

    return register


def convert(node: Node) -> str:
    """LaTeX of one element. An element of unknown name is a row of what is in it."""
    return HANDLERS.get(node.tag, HANDLERS["mrow"])(node)


def innermost(node: Node) -> Node:
    """The element that is all of `node`, groups of one element taken apart."""
    while len(node.children) == 1 and node.tag in GROUPS:
        node = node.children[0]
    return node


def operator_text(node: Node) -> str:
    """The text of an operator; empty for every other element."""
    return node.text if node.tag == "mo" else ""


def group(latex: str) -> str:
    """As an argument of `^` or `_`: one character as it is, more in braces."""
    latex = latex.strip()
    return latex if len(latex) == 1 else f"{{{latex}}}"


def sub(latex: str) -> str:
    """As a subscript; nothing for nothing."""
    latex = latex.strip()
    return f"_{group(latex)}" if latex else ""


def sup(latex: str) -> str:
    """As a superscript; primes need no mark."""
    latex = latex.strip()
    if latex.startswith("{}'"):
        latex = latex[2:]
    if latex.startswith("'"):
        rest = latex.lstrip("'")
        return latex[: len(latex) - len(rest)] + sup(rest)
    if latex == "\\ast":
        return "^*"
    return f"^{group(latex)}" if latex else ""
