"""KaTeX HTML without its LaTeX: the formula from the boxes.

KaTeX's class names keep what a box is (`mfrac`, `msupsub`, `mop`), its font and, in `top` styles, which box of a stack
is above which. That is enough to write the LaTeX again, up to spacing and macros.
"""

import re
from dataclasses import dataclass

from selectolax.lexbor import LexborNode

from ops.extract.symbols import FUNCTIONS, LIMIT_FUNCTIONS, concatenate, symbols, text_command
from ops.extract.words import words

LONGEST_DEPTH = 100
_NOTHING = words(
    "strut pstrut vlist-s frac-line nulldelimiter hline arraycolsep vertical-separator eqn-num tag fix hide-tail "
    "overline-line underline-line svg-align-empty rule"
)
_FONTS = {
    "mathbf": "mathbf",
    "mathbb": "mathbb",
    "mathcal": "mathcal",
    "mathfrak": "mathfrak",
    "mathsf": "mathsf",
    "mathtt": "mathtt",
    "mathrm": "mathrm",
    "mathscr": "mathscr",
    "boldsymbol": "boldsymbol",
    "textbf": "textbf",
    "textit": "textit",
    "texttt": "texttt",
    "textsf": "textsf",
    "textrm": "text",
}
_ACCENTS = {
    "^": "hat", "ˆ": "hat", "~": "tilde", "˜": "tilde", "¯": "bar", "ˉ": "bar", "⃗": "vec", "→": "vec", "˙": "dot",
    "¨": "ddot", "ˇ": "check", "˘": "breve", "´": "acute", "ˊ": "acute", "`": "grave", "ˋ": "grave", "˚": "mathring",
}  # fmt: skip
_TALL = {
    **dict.fromkeys("⎛⎜⎝", "("), **dict.fromkeys("⎞⎟⎠", ")"), **dict.fromkeys("⎡⎢⎣", "["),
    **dict.fromkeys("⎤⎥⎦", "]"), **dict.fromkeys("⎧⎨⎩", "{"), **dict.fromkeys("⎫⎬⎭", "}"), "∣": "|", "∥": "‖",
}  # fmt: skip
_MATRICES = {("(", ")"): "pmatrix", ("[", "]"): "bmatrix", ("|", "|"): "vmatrix", ("\\{", ""): "cases"}
_TOP = re.compile(r"top:\s*(-?[\d.]+)em")
_HEIGHT = re.compile(r"height:\s*(-?[\d.]+)em")
_MARGIN = re.compile(r"margin-right:\s*(-?[\d.]+)em")
_NOT = "\ue020"


@dataclass(frozen=True, slots=True)
class _Item:
    """One box of a stack and how far it is below the line (negative: above)."""

    node: LexborNode
    shift: float


def boxes_to_latex(boxes: LexborNode) -> str | None:
    """The LaTeX of a `katex-html` element; None when its boxes hold no character."""
    latex = re.sub(r" {2,}", " ", _children(boxes, 0)).strip()
    return latex or None


def _names(node: LexborNode) -> list[str]:
    return (node.attributes.get("class") or "").split()


def _elements(node: LexborNode) -> list[LexborNode]:
    found = []
    child = node.first_child
    while child is not None:
        if (child.tag or "-")[0] not in "-!":
            found.append(child)
        child = child.next
    return found


def _text(node: LexborNode) -> str:
    return (node.text(deep=True) or "").replace("\u200b", "")


def _children(node: LexborNode, depth: int) -> str:
    """Boxes side by side."""
    parts: list[tuple[LexborNode | None, str]] = []
    child = node.first_child
    while child is not None:
        tag = child.tag or ""
        if tag == "-text":
            parts.append((None, symbols((child.text_content or "").replace("\u200b", ""))))
        elif tag[:1] not in ("-", "!"):
            names = _names(child)
            if "msupsub" in names:
                base = parts.pop()[1] if parts else ""
                parts.append((None, _scripted(base, child, depth)))
            else:
                parts.append((child, _convert(child, names, depth + 1)))
        child = child.next
    return _matrices(parts)


def _matrices(parts: list[tuple[LexborNode | None, str]]) -> str:
    """Join, with a `matrix` between fences named after them."""
    latex = [text for _, text in parts]
    for index, text in enumerate(latex):
        if not text.startswith("\\begin{matrix}"):
            continue
        before = latex[index - 1].strip() if index else ""
        after = latex[index + 1].strip() if index + 1 < len(latex) else ""
        environment = _MATRICES.get((before, after))
        if environment:
            latex[index - 1] = ""
            latex[index] = text.replace("{matrix}", f"{{{environment}}}")
            if index + 1 < len(latex):
                latex[index + 1] = ""
    return concatenate(latex)


def _convert(node: LexborNode, names: list[str], depth: int) -> str:
    if depth > LONGEST_DEPTH:
        return symbols(_text(node))
    kinds = set(names)
    if not kinds.isdisjoint(_NOTHING):
        return ""
    if "mspace" in kinds:
        return _space(node, kinds)
    if "text" in kinds:
        return _text_box(node)
    if "mfrac" in kinds:
        return _fraction(node, depth)
    if "sqrt" in kinds:
        return _root(node, depth)
    if "accent" in kinds:
        return _accent(node, depth)
    if "overline" in kinds or "underline" in kinds:
        stack = _stack(node)
        inner = "".join(_children(item.node, depth + 1) for item in stack).strip()
        return f"\\{'overline' if 'overline' in kinds else 'underline'}{{{inner}}}"
    if "op-limits" in kinds:
        return _limits(node, depth)
    if "mtable" in kinds:
        return _table(node, depth)
    if "rlap" in kinds or "llap" in kinds:
        return "\\not " if _NOT in _text(node) else _children(node, depth)
    if "mop" in kinds or "op-symbol" in kinds:
        return _operator(node, depth)
    if "delimsizing" in kinds:
        return _delimiter(node)
    font = next((_FONTS[name] for name in names if name in _FONTS), None)
    if font is not None:
        inner = _children(node, depth).strip()
        return f"\\{font}{{{inner}}}" if inner else ""
    latex = _children(node, depth)
    if "mbin" in kinds or "mrel" in kinds:
        latex = latex.replace("\\not =", "\\neq").strip()
        return f" {latex} " if latex else ""
    return latex


def _space(node: LexborNode, kinds: set[str]) -> str:
    if "newline" in kinds:
        return " \\\\ "
    match = _MARGIN.search(node.attributes.get("style") or "")
    width = float(match.group(1)) if match else 0.0
    return "\\qquad " if width > 1.9 else "\\quad " if width > 0.9 else ""


def _text_box(node: LexborNode) -> str:
    text = _text(node).replace("\u00a0", " ")
    font = next((_FONTS[name] for below in _elements(node) for name in _names(below) if name in _FONTS), "text")
    latex = text_command(text)
    return latex if font == "text" else latex.replace("\\text{", f"\\{font}{{", 1)


def _stack(node: LexborNode) -> list[_Item]:
    """The boxes of the first stack (`vlist`) in `node`, from the top down."""
    for below in node.traverse(include_text=False):
        if "vlist" in _names(below):
            items = []
            for item in _elements(below):
                match = _TOP.search(item.attributes.get("style") or "")
                if match is None:
                    continue
                strut = next((inner for inner in _elements(item) if "pstrut" in _names(inner)), None)
                height = _HEIGHT.search((strut.attributes.get("style") or "") if strut is not None else "")
                items.append(_Item(item, float(match.group(1)) + (float(height.group(1)) if height else 0.0)))
            return sorted(items, key=lambda item: item.shift)
    return []


def _group(latex: str) -> str:
    latex = latex.strip()
    return latex if len(latex) == 1 else f"{{{latex}}}"


def _scripted(base: str, scripts: LexborNode, depth: int) -> str:
    above, below = "", ""
    for item in _stack(scripts):
        latex = _children(item.node, depth + 1).strip()
        if item.shift < 0:
            above = latex
        else:
            below = latex
    primes = bool(above) and not above.strip("'")
    base = base.rstrip() or "{}"
    sub = f"_{_group(below)}" if below else ""
    sup = above if primes else f"^{_group(above)}" if above else ""
    return base + sub + sup


def _fraction(node: LexborNode, depth: int) -> str:
    parts = [_children(item.node, depth + 1).strip() for item in _stack(node) if not _is_line(item.node)]
    has_line = any(_is_line(item.node) for item in _stack(node))
    if len(parts) != 2:
        return concatenate(parts)
    return f"\\{'frac' if has_line else 'binom'}{{{parts[0]}}}{{{parts[1]}}}"


def _is_line(node: LexborNode) -> bool:
    return any("frac-line" in _names(below) for below in _elements(node))


def _root(node: LexborNode, depth: int) -> str:
    index = next((child for child in _elements(node) if "root" in _names(child)), None)
    body = next((child for child in _elements(node) if "root" not in _names(child)), None)
    stack = _stack(body) if body is not None else []
    inner = concatenate([_children(item.node, depth + 1) for item in stack]).strip()
    if index is not None:
        label = "".join(_children(item.node, depth + 1) for item in _stack(index)).strip()
        return f"\\sqrt[{label}]{{{inner}}}"
    return f"\\sqrt{{{inner}}}"


def _accent(node: LexborNode, depth: int) -> str:
    inner, command = "", "widehat"
    for item in _stack(node):
        body = next((below for below in _elements(item.node) if "accent-body" in _names(below)), None)
        if body is not None:
            command = _ACCENTS.get(_text(body).strip(), "hat")
        elif any(below.tag == "svg" for below in item.node.traverse(include_text=False)):
            continue
        else:
            inner += _children(item.node, depth + 1)
    return f"\\{command}{{{inner.strip()}}}"


def _limits(node: LexborNode, depth: int) -> str:
    base, above, below = "", "", ""
    for item in _stack(node):
        latex = _children(item.node, depth + 1).strip()
        is_base = not any("sizing" in _names(inner) for inner in _elements(item.node)) and any(
            "mop" in _names(inner) for inner in item.node.traverse(include_text=False)
        )
        if is_base:
            base = latex
        elif base:
            below = latex
        else:
            above = latex
    sub = f"_{_group(below)}" if below else ""
    sup = f"^{_group(above)}" if above else ""
    return f"{base}{sub}{sup} "


def _operator(node: LexborNode, depth: int) -> str:
    if any("msupsub" in _names(child) for child in _elements(node)):
        return _children(node, depth)
    text = _text(node).strip()
    if text in FUNCTIONS or text.replace("\u2009", "").replace(" ", "") in LIMIT_FUNCTIONS:
        return f"\\{text.replace(chr(0x2009), '').replace(' ', '')} "
    if len(text) > 1 and text.isascii() and text.isalpha():
        return f"\\operatorname{{{text}}}"
    return _children(node, depth)


def _delimiter(node: LexborNode) -> str:
    text = _text(node)
    for character in text:
        if character in _TALL:
            return symbols(_TALL[character])
    return symbols(text)


def _table(node: LexborNode, depth: int) -> str:
    columns: list[list[str]] = []
    sides: list[str] = []
    for child in _elements(node):
        side = next((name for name in _names(child) if name.startswith("col-align-")), None)
        if side is None:
            continue
        sides.append(side[-1])
        columns.append([_children(item.node, depth + 1).strip() for item in _stack(child)])
    if not columns:
        return _children(node, depth)
    height = max(map(len, columns))
    rows = [" & ".join(column[row] if row < len(column) else "" for column in columns).strip() for row in range(height)]
    aligned = len(sides) > 1 and all(side == "rl"[index % 2] for index, side in enumerate(sides))
    environment = "aligned" if aligned else "matrix"
    return f"\\begin{{{environment}}} " + " \\\\ ".join(rows) + f" \\end{{{environment}}}"
