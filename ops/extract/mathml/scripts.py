"""Scripts, limits, accents, fractions, roots and what encloses."""

import re

from ops.extract.mathml.content_tables import CONTENT_TAGS
from ops.extract.mathml.core import convert, innermost, operator_text, sub, sup, writes
from ops.extract.mathml.nodes import GROUPS, Node
from ops.extract.mathml.rows import CLOSING, OPENING, is_stacked, row
from ops.extract.mathml.tokens import function_name, is_word
from ops.extract.symbols import LARGE, LIMIT_FUNCTIONS, OVER_ACCENTS, UNDER_ACCENTS, WIDE

_ATOM = re.compile(
    r"(?:[A-Za-z0-9]|\\[A-Za-z]+|\\(?:math\w+|boldsymbol|operatorname|text|hat|bar|vec|tilde|dot|overline)\{[^{}\\]*\}"
    r"|[^\\{}\s])'*"
)
_EMPTY = frozenset(["none", "mprescripts"])
_BRACES = ("\\overbrace", "\\underbrace", "\\overbracket", "\\underbracket")
_ARROWS = {
    "→": "xrightarrow", "⟶": "xrightarrow", "←": "xleftarrow", "⟵": "xleftarrow", "⇒": "xRightarrow",
    "⇐": "xLeftarrow", "⟹": "xRightarrow", "⟸": "xLeftarrow", "↔": "xleftrightarrow", "⇔": "xLeftrightarrow",
    "↦": "xmapsto", "⟼": "xmapsto", "↪": "xhookrightarrow", "↩": "xhookleftarrow", "⇌": "xrightleftharpoons",
    "⇋": "xleftrightharpoons", "⇀": "xrightharpoonup", "⇁": "xrightharpoondown", "↼": "xleftharpoonup",
    "↽": "xleftharpoondown", "↠": "xtwoheadrightarrow", "↞": "xtwoheadleftarrow",
}  # fmt: skip
_ENCLOSED = {
    "box": "boxed", "updiagonalstrike": "cancel", "downdiagonalstrike": "bcancel", "radical": "sqrt",
    "top": "overline", "bottom": "underline", "phasorangle": "phase", "updiagonalarrow": "cancelto",
}  # fmt: skip
_LINES = frozenset("‾¯―_─̅−")


def _is_operator(node: Node) -> bool:
    """Whether limits go above and below this base."""
    inner = innermost(node)
    text = inner.text
    return (
        text in LARGE
        or (text != "" and text.replace(" ", "").replace("\u2009", "").replace("\u00a0", "") in LIMIT_FUNCTIONS)
        or (inner.tag == "mo" and inner.get("largeop") == "true")
        or inner.get("movablelimits") == "true"
    )


def _is_operator_word(node: Node) -> bool:
    """A name that limits go below, as `\\operatorname*` writes it."""
    inner = innermost(node)
    return inner.tag in ("mi", "mo") and is_word(inner.text) and function_name(inner.text) is None


def _base(node: Node) -> str:
    latex = convert(node).strip()
    if not latex:
        return "{}"
    if _ATOM.fullmatch(latex) or _is_operator(node):
        return latex
    if node.tag in GROUPS and len(node.children) > 1:
        ends = operator_text(node.children[0]), operator_text(node.children[-1])
        if ends[0] in OPENING and ends[1] in CLOSING:
            return latex
    if node.tag in ("mover", "munder", "mfenced", "mtable", "mo", "mi", "mn", "mtext") and "^" not in latex:
        return latex
    return f"{{{latex}}}"


def _converted(nodes: list[Node], count: int) -> list[str]:
    """LaTeX of the first `count` elements; missing ones are empty."""
    return [_script(node) for node in nodes[:count]] + [""] * (count - len(nodes))


def _script(node: Node) -> str:
    inner = innermost(node)
    if inner.tag == "mtable" and all(len(cells.children) == 1 for cells in inner.children):
        return "\\substack{" + " \\\\ ".join(row(cells.children).strip() for cells in inner.children) + "}"
    return convert(node).strip()


@writes("msup", "msub", "msubsup")
def scripts(node: Node) -> str:
    nodes = node.children
    if not nodes:
        return ""
    base = _base(nodes[0])
    first, second = _converted(nodes[1:], 2)
    if node.tag == "msup":
        return base + sup(first)
    if node.tag == "msub":
        return base + sub(first)
    return base + sub(first) + sup(second)


@writes("munderover")
def under_and_over(node: Node) -> str:
    nodes = node.children
    if not nodes:
        return ""
    under, over = _converted(nodes[1:], 2)
    if _is_operator(nodes[0]):
        return _base(nodes[0]) + sub(under) + sup(over)
    inner = innermost(nodes[0])
    arrow = _ARROWS.get(inner.text) if inner.tag == "mo" else None
    if arrow:
        return f"\\{arrow}[{under}]{{{over}}}"
    if _is_operator_word(nodes[0]):
        return f"\\operatorname*{{{innermost(nodes[0]).text}}}" + sub(under) + sup(over)
    if len(nodes) == 3:
        inside = Node("munder", [nodes[0], nodes[1]])
        return over_or_under(Node("mover", [inside, nodes[2]]))
    return f"\\overset{{{over}}}{{\\underset{{{under}}}{{{convert(nodes[0]).strip()}}}}}"


@writes("mover", "munder")
def over_or_under(node: Node) -> str:
    nodes = node.children
    if not nodes:
        return ""
    over = node.tag == "mover"
    if len(nodes) == 1:
        return convert(nodes[0])
    base, mark = nodes[0], innermost(nodes[1])
    operator = _is_operator(base)
    accents = OVER_ACCENTS if over else UNDER_ACCENTS
    if mark.text in accents and mark.tag in ("mo", "mi", "mtext", "mn", "#text"):
        lined = mark.text in _LINES and innermost(base).text not in LARGE
        if not operator or lined:
            inner = convert(base).strip()
            command = accents[mark.text]
            if not _ATOM.fullmatch(inner):
                command = WIDE.get(command, command)
            elif mark.get("stretchy") == "true" and command in ("hat", "tilde"):
                command = WIDE[command]
            return f"\\{command}{{{inner}}}"
    written = _script(nodes[1])
    if not written:
        return _base(base)
    text = innermost(base).text
    latex = convert(base).strip()
    if operator or latex.startswith(_BRACES):
        return _base(base) + (sup(written) if over else sub(written))
    if innermost(base).tag == "mo" and text in _ARROWS:
        return f"\\{_ARROWS[text]}{{{written}}}" if over else f"\\{_ARROWS[text]}[{written}]{{}}"
    if not over and _is_operator_word(base) and innermost(base).get("data-mjx-texclass") in ("OP", ""):
        return f"\\operatorname*{{{text}}}" + sub(written)
    return f"\\{'overset' if over else 'underset'}{{{written}}}{{{latex}}}"


@writes("mfrac")
def fraction(node: Node) -> str:
    top, bottom = (latex.strip() for latex in _converted(node.children, 2))
    if is_stacked(node):
        return f"{{{top} \\atop {bottom}}}"
    if node.get("bevelled") == "true":
        return "/".join(latex if _ATOM.fullmatch(latex) else f"{{{latex}}}" for latex in (top, bottom))
    return f"\\frac{{{top}}}{{{bottom}}}"


@writes("msqrt")
def square_root(node: Node) -> str:
    return f"\\sqrt{{{row(node.children).strip()}}}"


@writes("mroot")
def root(node: Node) -> str:
    inner, index = _converted(node.children, 2)
    if "]" in index:
        index = f"{{{index}}}"
    return f"\\sqrt[{index}]{{{inner}}}" if index else f"\\sqrt{{{inner}}}"


@writes("mmultiscripts")
def multiscripts(node: Node) -> str:
    nodes = node.children
    if not nodes:
        return ""
    base = _base(nodes[0])
    before, after = "", ""
    pre = False
    pending: list[str] = []
    for child in [*nodes[1:], Node("mprescripts")]:
        if child.tag == "mprescripts":
            if pending:  # a subscript whose superscript is missing
                pending.append("")
        else:
            pending.append("" if child.tag in _EMPTY else convert(child))
        if len(pending) == 2:
            pair = sub(pending[0]) + sup(pending[1])
            if pre:
                before += pair and "{}" + pair
            elif pair:
                joins = after and (not pending[0].strip() and "^" not in after and "'" not in after)
                after += ("" if joins or not after else "{}") + pair
            pending = []
        if child.tag == "mprescripts":
            pre = True
    return f"{before}{base}{after}"


@writes("mphantom")
def phantom(node: Node) -> str:
    return f"\\phantom{{{row(node.children).strip()}}}"


@writes("menclose")
def enclose(node: Node) -> str:
    notations = (node.get("notation") or "longdiv").split()
    inner_node = innermost(node.children[0]) if len(node.children) == 1 else None
    if inner_node is not None and inner_node.tag == "mtable" and {"left", "right", "top", "bottom"} >= {*notations}:
        frame = {"frame": "solid"} if len(notations) > 2 else {}
        return convert(Node("mtable", inner_node.children, attrs={**inner_node.attrs, **frame}))
    latex = row(node.children).strip()
    if {"updiagonalstrike", "downdiagonalstrike"} <= {*notations}:
        return f"\\xcancel{{{latex}}}"
    for notation in notations:
        command = _ENCLOSED.get(notation)
        if command == "cancelto":
            command = "cancel"
        if command:
            return f"\\{command}{{{latex}}}"
    if {"left", "right", "top", "bottom"} <= {*notations} or "roundedbox" in notations:
        return f"\\boxed{{{latex}}}"
    return f"\\enclose{{{' '.join(notations)}}}{{{latex}}}"


@writes("semantics")
def semantics(node: Node) -> str:
    """The first child, unless that is content and an annotation holds the presentation of it."""
    shown = [child for child in node.children if child.tag not in ("annotation", "annotation-xml")]
    if shown and innermost(shown[0]).tag in CONTENT_TAGS:
        for child in node.children:
            if child.tag == "annotation-xml" and "presentation" in child.get("encoding").lower():
                return row(child.children)
    return convert(shown[0]) if shown else ""


@writes("maction")
def action(node: Node) -> str:
    """The child that is selected, the first when none is."""
    selected = node.get("selection")
    index = int(selected) - 1 if selected.isascii() and selected.isdigit() and len(selected) < 5 else 0
    return convert(node.children[index if 0 <= index < len(node.children) else 0]) if node.children else ""


@writes("annotation", "annotation-xml", "none", "mprescripts", "malignmark", "maligngroup", "script", "style")
def nothing(node: Node) -> str:
    return ""
