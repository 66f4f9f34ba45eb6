"""Presentation MathML to LaTeX.

A recursive descent over the element's children, `LONGEST_DEPTH` levels deep; below that only the text is kept.
"""

import re

from selectolax.lexbor import LexborNode

from ops.extract.symbols import (
    BINARY,
    FUNCTIONS,
    LARGE,
    LIMIT_FUNCTIONS,
    OVER_ACCENTS,
    RELATIONS,
    UNDER_ACCENTS,
    WIDE,
    concatenate,
    symbol,
    symbols,
    text_command,
)
from ops.extract.words import words

LONGEST_DEPTH = 120
_VARIANTS = {
    "bold": "mathbf",
    "double-struck": "mathbb",
    "script": "mathcal",
    "bold-script": "mathcal",
    "fraktur": "mathfrak",
    "bold-fraktur": "mathfrak",
    "sans-serif": "mathsf",
    "bold-sans-serif": "mathsf",
    "monospace": "mathtt",
    "bold-italic": "boldsymbol",
}
_GROUPS = words("math mrow mstyle mpadded merror mtd maction a span mpadded")
_MATRICES = {
    ("(", ")"): "pmatrix",
    ("[", "]"): "bmatrix",
    ("|", "|"): "vmatrix",
    ("\\|", "\\|"): "Vmatrix",
    ("\\{", "\\}"): "Bmatrix",
}
_OPENING = frozenset(["(", "[", "{", "⟨", "⌈", "⌊", "⟦", "〈"])
_CLOSING = frozenset([")", "]", "}", "⟩", "⌉", "⌋", "⟧", "〉"])
_NO_OPERAND = _OPENING | RELATIONS | BINARY | {","}
"""Behind one of these an operator is a sign."""
_BARS = frozenset(["|", "‖", "∥", "∣"])
_TALL = re.compile(r"\\(?:d?frac|sum|prod|int|begin|bigcup|bigcap|binom|over)(?![A-Za-z])")
_ATOM = re.compile(r"(?:[A-Za-z0-9]|\\[A-Za-z]+|\\(?:math\w+|boldsymbol|operatorname|text)\{[^{}]*\}|[^\\{}\s])'*")
_ATOP = re.compile(r"\{((?:(?!\\atop).)*) \\atop ((?:(?!\\atop).)*)\}")
_ZERO_WIDTH = re.compile(r"[+-]?0+(?:\.0*)?\s*[a-z%]*")
_EMPTY = frozenset(["", "none", "mprescripts"])
_WIDTH = re.compile(r"\s*([+-]?[\d.]+)\s*(em|ex|pt|px|mu)?")
_NAMED_WIDTHS = {
    "veryverythinmathspace": 1 / 18,
    "verythinmathspace": 2 / 18,
    "thinmathspace": 3 / 18,
    "mediummathspace": 4 / 18,
    "thickmathspace": 5 / 18,
    "verythickmathspace": 6 / 18,
    "veryverythickmathspace": 7 / 18,
}
_UNITS = {"em": 1.0, "ex": 0.45, "pt": 0.1, "px": 1 / 16, "mu": 1 / 18, None: 1.0}


def mathml_to_latex(math: LexborNode) -> str:
    """The LaTeX of a `<math>` element (its children), without delimiters."""
    return re.sub(r" {2,}", " ", _row(_children(math), 0)).strip()


def _children(node: LexborNode) -> list[LexborNode]:
    """Child elements; text directly in a layout element is taken for an identifier."""
    found = []
    child = node.first_child
    while child is not None:
        tag = child.tag or ""
        if (tag == "-text" and (child.text_content or "").strip()) or tag[:1] not in ("-", "!"):
            found.append(child)
        child = child.next
    return found


def _text(node: LexborNode) -> str:
    return " ".join((node.text(deep=True) or "").split())


def _convert(node: LexborNode, depth: int) -> str:
    tag = node.tag or ""
    if tag == "-text":
        return symbols((node.text_content or "").strip())
    if depth > LONGEST_DEPTH:
        return symbols(_text(node))
    if tag == "mi":
        return _identifier(node)
    if tag == "mo":
        return _operator(_text(node))
    if tag == "mn":
        return _styled(symbols(_text(node).replace(" ", "\\ ")), node.attributes.get("mathvariant"))
    if tag in _GROUPS:
        return _row(_children(node), depth + 1)
    if tag in ("mtext", "ms"):
        return _mtext(node)
    if tag == "mspace":
        return _space(node)
    handler = _HANDLERS.get(tag)
    if handler is not None:
        return handler(node, _children(node), depth + 1)
    return _row(_children(node), depth + 1)


def _identifier(node: LexborNode) -> str:
    text = _text(node)
    variant = node.attributes.get("mathvariant")
    if len(text) > 1 and text.isascii():
        if text in FUNCTIONS:
            return f"\\{text} "
        if text.replace(" ", "") in ("limsup", "liminf"):
            return f"\\{text.replace(' ', '')} "
        if text.isalpha():
            return f"\\{_VARIANTS.get(variant or '', 'mathrm')}{{{text}}}"
    if variant == "normal" and len(text) == 1 and text.isascii() and text.isalpha():
        return f"\\mathrm{{{text}}}"
    return _styled(symbols(text), variant)


def _styled(latex: str, variant: str | None) -> str:
    command = _VARIANTS.get(variant or "")
    if command is None or not latex or latex.startswith(f"\\{command}"):
        return latex
    if command == "mathbf" and latex.startswith("\\"):
        command = "boldsymbol"
    return f"\\{command}{{{latex.strip()}}}"


def _operator(text: str) -> str:
    if len(text) > 1 and text.isascii() and text.isalpha():
        if text == "mod":
            return "\\bmod "
        return f"\\{text} " if text in FUNCTIONS else f"\\operatorname{{{text}}}"
    if text.replace(" ", "") in ("limsup", "liminf"):
        return f"\\{text.replace(' ', '')} "
    return symbols(text)


def _mtext(node: LexborNode) -> str:
    raw = node.text(deep=True) or ""
    if not raw.strip():
        return "\\ " if raw else ""
    text = re.sub(r"\s+", " ", raw)
    if len(text.strip()) == 1 and not text.strip().isalpha():
        return symbol(text.strip())
    return _styled_text(text, node.attributes.get("mathvariant"))


def _styled_text(text: str, variant: str | None) -> str:
    command = {"bold": "textbf", "italic": "textit", "monospace": "texttt", "sans-serif": "textsf"}.get(variant or "")
    latex = text_command(text)
    return latex.replace("\\text{", f"\\{command}{{", 1) if command else latex


def _space(node: LexborNode) -> str:
    if node.attributes.get("linebreak") == "newline":
        return "\\\\"
    width = (node.attributes.get("width") or "").strip()
    size = _NAMED_WIDTHS.get(width)
    if size is None:
        match = _WIDTH.match(width)
        size = float(match.group(1)) * _UNITS[match.group(2)] if match and match.group(1).strip("+-.") else 0.0
    if size <= 0:
        return "\\!" if size < 0 else ""
    for least, command in ((1.9, "\\qquad "), (0.9, "\\quad "), (0.45, "\\ "), (0.25, "\\;"), (0.0, "\\,")):
        if size > least:
            return command
    return ""


def _row(nodes: list[LexborNode], depth: int) -> str:
    """Elements side by side: fences, matrices and the spaces around operators are seen here."""
    texts = [_text(node) if node.tag == "mo" else "" for node in nodes]
    pieces: list[str] = []
    skip_to = 0
    for index, node in enumerate(nodes):
        if index < skip_to:
            continue
        table = _table_of(nodes[index + 1]) if index + 1 < len(nodes) and texts[index] else None
        if table is not None:
            opening = symbol(texts[index]) if len(texts[index]) == 1 else ""
            closing_text = texts[index + 2] if index + 2 < len(nodes) else None
            closing = symbol(closing_text) if closing_text is not None and len(closing_text) == 1 else None
            environment = _MATRICES.get((opening.strip(), closing.strip())) if closing is not None else None
            if environment:
                pieces.append(_table(table, depth + 1, environment))
                skip_to = index + 3
                continue
            if opening == "\\{" and (closing is None or closing_text == ""):
                pieces.append(_table(table, depth + 1, "cases"))
                skip_to = index + 2
                continue
        latex = _convert(node, depth + 1)
        text = texts[index]
        infix = 0 < index < len(nodes) - 1 and texts[index - 1] not in _NO_OPERAND
        if infix and (text in RELATIONS or text in BINARY):
            latex = f" {latex.strip()} "
        elif text == ",":
            latex = ", "
        pieces.append(latex)
    joined = concatenate(pieces)
    if len(nodes) >= 3:
        joined = _fenced(joined, texts[0], texts[-1])
    return joined


def _fenced(latex: str, first: str, last: str) -> str:
    """A row between fences: `\\pmod`, `\\binom`, and `\\left..\\right` around what is tall."""
    if not (first in _OPENING or first in _BARS) or not (last in _CLOSING or last in _BARS):
        return latex
    opening, closing = symbol(first), symbol(last)
    if not (latex.startswith(opening.strip()) and latex.rstrip().endswith(closing.strip())):
        return latex
    inner = latex.strip()[len(opening.strip()) : -len(closing.strip())].strip()
    if first == "(" and last == ")":
        if inner.startswith("\\bmod"):
            modulus = inner.removeprefix("\\bmod").strip()
            return f"\\pmod{{{modulus}}}"
        stacked = _ATOP.fullmatch(inner)
        if stacked:
            return f"\\binom{{{stacked.group(1)}}}{{{stacked.group(2)}}}"
    if _TALL.search(inner):
        return f"\\left{opening.strip()} {inner} \\right{closing.strip()}"
    return latex


def _table_of(node: LexborNode) -> LexborNode | None:
    """The `<mtable>` that is all of `node`."""
    for _ in range(8):
        if node.tag == "mtable":
            return node
        children = _children(node)
        if len(children) != 1 or node.tag not in _GROUPS:
            return None
        node = children[0]
    return None


def _table(node: LexborNode, depth: int, environment: str | None = None) -> str:
    rows = []
    for row in _children(node):
        if row.tag not in ("mtr", "mlabeledtr"):
            continue
        cells = _children(row)
        tag = ""
        if row.tag == "mlabeledtr" and cells:
            label = _text(cells[0]).strip("()")
            tag = f" \\tag{{{label}}}" if label else ""
            cells = cells[1:]
        rows.append(" & ".join(_row(_children(cell), depth + 1).strip() for cell in cells) + tag)
    if environment is None:
        align = (node.attributes.get("columnalign") or "").split()
        names = (node.attributes.get("class") or "").split()
        aligned = any("align" in name for name in names) or (
            len(align) > 1 and all(side == ("right", "left")[index % 2] for index, side in enumerate(align))
        )
        display = (node.attributes.get("displaystyle") or "") == "true"
        environment = "aligned" if aligned or (display and any("&" in row for row in rows)) else "matrix"
        if environment == "matrix" and display:
            environment = "gathered"
    return f"\\begin{{{environment}}} " + " \\\\ ".join(rows) + f" \\end{{{environment}}}"


def _group(latex: str) -> str:
    latex = latex.strip()
    return latex if len(latex) == 1 else f"{{{latex}}}"


def _is_operator(node: LexborNode) -> bool:
    """Whether limits go above and below this base."""
    inner = node
    for _ in range(8):
        children = _children(inner)
        if inner.tag in _GROUPS and len(children) == 1:
            inner = children[0]
        else:
            break
    text = _text(inner)
    return (
        text in LARGE
        or text.replace(" ", "") in LIMIT_FUNCTIONS
        or (inner.tag == "mo" and inner.attributes.get("largeop") == "true")
        or inner.attributes.get("movablelimits") == "true"
    )


def _base(node: LexborNode, depth: int) -> str:
    latex = _convert(node, depth).strip()
    if not latex:
        return "{}"
    if _ATOM.fullmatch(latex) or _is_operator(node):
        return latex
    children = _children(node) if node.tag in _GROUPS else []
    if len(children) > 1 and _text(children[0]) in _OPENING and _text(children[-1]) in _CLOSING:
        return latex
    if node.tag in ("mover", "munder", "mfenced", "mtable", "mo", "mi", "mn", "mtext"):
        return latex
    return f"{{{latex}}}"


def _sup(latex: str) -> str:
    latex = latex.strip()
    if latex and not latex.strip("'"):
        return latex
    if latex == "\\ast":
        return "^*"
    return f"^{_group(latex)}" if latex else ""


def _sub(latex: str) -> str:
    latex = latex.strip()
    return f"_{_group(latex)}" if latex else ""


def _pad(nodes: list[LexborNode], count: int, depth: int) -> list[str]:
    """LaTeX of the first `count` children; missing ones are empty."""
    return [_convert(node, depth) for node in nodes[:count]] + [""] * (count - len(nodes))


def _scripts(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    if not nodes:
        return ""
    base = _base(nodes[0], depth)
    scripts = _pad(nodes[1:], 2, depth)
    if node.tag == "msup":
        return base + _sup(scripts[0])
    if node.tag == "msub":
        return base + _sub(scripts[0])
    return base + _sub(scripts[0]) + _sup(scripts[1])


def _over_under(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    if not nodes:
        return ""
    tag = node.tag
    if tag == "munderover":
        base = _base(nodes[0], depth)
        under, over = _pad(nodes[1:], 2, depth)
        if _is_operator(nodes[0]):
            return base + _sub(under) + _sup(over)
        arrow = {"\\to": "\\xrightarrow", "\\rightarrow": "\\xrightarrow", "\\leftarrow": "\\xleftarrow"}.get(base)
        if arrow:
            return f"{arrow}[{under.strip()}]{{{over.strip()}}}"
        return f"\\overset{{{over.strip()}}}{{\\underset{{{under.strip()}}}{{{base}}}}}"
    mark_text = _text(nodes[1]) if len(nodes) > 1 else ""
    accents = OVER_ACCENTS if tag == "mover" else UNDER_ACCENTS
    if mark_text in accents and not _is_operator(nodes[0]):
        inner = _convert(nodes[0], depth).strip()
        command = accents[mark_text]
        if not _ATOM.fullmatch(inner):
            command = WIDE.get(command, command)
        return f"\\{command}{{{inner}}}"
    base = _base(nodes[0], depth)
    mark = _pad(nodes[1:], 1, depth)[0].strip()
    if not mark:
        return base
    if _is_operator(nodes[0]) or base.startswith(("\\overbrace", "\\underbrace")):
        return base + (_sup(mark) if tag == "mover" else _sub(mark))
    if base in ("\\to", "\\longrightarrow", "\\rightarrow") and tag == "mover":
        return f"\\xrightarrow{{{mark}}}"
    return f"\\{'overset' if tag == 'mover' else 'underset'}{{{mark}}}{{{_convert(nodes[0], depth).strip()}}}"


def _fraction(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    top, bottom = (latex.strip() for latex in _pad(nodes, 2, depth))
    thickness = (node.attributes.get("linethickness") or "").strip()
    if _ZERO_WIDTH.fullmatch(thickness):
        return f"{{{top} \\atop {bottom}}}"
    if node.attributes.get("bevelled") == "true":
        return f"{top}/{bottom}"
    return f"\\frac{{{top}}}{{{bottom}}}"


def _root(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    if node.tag == "msqrt":
        return f"\\sqrt{{{_row(nodes, depth).strip()}}}"
    inner, index = (latex.strip() for latex in _pad(nodes, 2, depth))
    return f"\\sqrt[{index}]{{{inner}}}"


def _mfenced(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    attrs = node.attributes
    opening = "(" if attrs.get("open") is None else (attrs.get("open") or "").strip()
    closing = ")" if attrs.get("close") is None else (attrs.get("close") or "").strip()
    separators = ("," if attrs.get("separators") is None else attrs.get("separators") or "").replace(" ", "")
    table = _table_of(nodes[0]) if len(nodes) == 1 else None
    fences = (symbols(opening).strip(), symbols(closing).strip())
    if table is not None and fences in _MATRICES:
        return _table(table, depth, _MATRICES[fences])
    if table is not None and fences == ("\\{", ""):
        return _table(table, depth, "cases")
    pieces: list[str] = []
    for index, child in enumerate(nodes):
        if index and separators:
            pieces.append(symbols(separators[min(index - 1, len(separators) - 1)]) + " ")
        pieces.append(_convert(child, depth))
    inner = concatenate(pieces).strip()
    if _TALL.search(inner) or not opening or not closing:
        return f"\\left{fences[0] or '.'} {inner} \\right{fences[1] or '.'}"
    return concatenate([symbols(opening), inner, symbols(closing)])


def _multiscripts(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    if not nodes:
        return ""
    base = _base(nodes[0], depth)
    before, after = "", ""
    pre = False
    pending: list[str] = []
    for child in nodes[1:]:
        if child.tag == "mprescripts":
            pre, pending = True, []
            continue
        pending.append("" if child.tag in _EMPTY else _convert(child, depth))
        if len(pending) == 2:
            scripts = _sub(pending[0]) + _sup(pending[1])
            if pre:
                before += scripts and "{}" + scripts
            else:
                after += ("{}" if after else "") + scripts
            pending = []
    return concatenate([before, base + after])


def _semantics(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    return _convert(nodes[0], depth) if nodes else ""


def _phantom(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    return f"\\phantom{{{_row(nodes, depth).strip()}}}"


def _enclose(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    inner = _row(nodes, depth).strip()
    notation = (node.attributes.get("notation") or "longdiv").split()
    if "box" in notation:
        return f"\\boxed{{{inner}}}"
    if "updiagonalstrike" in notation or "downdiagonalstrike" in notation:
        return f"\\cancel{{{inner}}}"
    if "radical" in notation:
        return f"\\sqrt{{{inner}}}"
    if "top" in notation:
        return f"\\overline{{{inner}}}"
    if "bottom" in notation:
        return f"\\underline{{{inner}}}"
    return inner


def _mtable(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    return _table(node, depth)


def _nothing(node: LexborNode, nodes: list[LexborNode], depth: int) -> str:
    return ""


_HANDLERS = {
    "msup": _scripts,
    "msub": _scripts,
    "msubsup": _scripts,
    "mover": _over_under,
    "munder": _over_under,
    "munderover": _over_under,
    "mfrac": _fraction,
    "msqrt": _root,
    "mroot": _root,
    "mfenced": _mfenced,
    "mmultiscripts": _multiscripts,
    "semantics": _semantics,
    "mphantom": _phantom,
    "menclose": _enclose,
    "mtable": _mtable,
    "annotation": _nothing,
    "annotation-xml": _nothing,
    "none": _nothing,
    "mprescripts": _nothing,
}
