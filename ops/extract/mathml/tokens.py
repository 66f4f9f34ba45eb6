"""Token elements: identifiers, numbers, operators, text and spaces."""

import re

from ops.extract.mathml.core import convert, writes
from ops.extract.mathml.nodes import Node
from ops.extract.symbols import FUNCTIONS, VARIANTS, concatenate, styled, symbol, symbols, text_command

_WIDTH = re.compile(r"\s*([+-]?[\d.]+)\s*(em|ex|pt|px|mu|cm|mm|in)?")
_NAMED_WIDTHS = {
    f"{sign}{name}mathspace": (-number if sign else number) / 18
    for number, name in enumerate(("verythin", "thin", "medium", "thick", "verythick", "veryverythick"), 2)
    for sign in ("", "negative")
} | {"veryverythinmathspace": 1 / 18, "negativeveryverythinmathspace": -1 / 18}
"""MathML 3, section 3.2.7.2: eighteenths of an em (veryverythin is one of them)."""
_UNITS = {"em": 1.0, "ex": 0.45, "pt": 0.1, "px": 1 / 16, "mu": 1 / 18, "cm": 2.8, "mm": 0.28, "in": 7.2, None: 1.0}
_TEXT_FONTS = {"bold": "textbf", "italic": "textit", "monospace": "texttt", "sans-serif": "textsf"}
_UNSTYLED = frozenset("()[]{}|.,;:!?'/=<>+-*−∗∣∥…⋯")
"""Operators whose font nobody chose: they stood within the argument of a font command."""
_BARS = {"∣": "|", "∥": "\\|"}
_TEX = re.compile(r"\\[A-Za-z]+")
_SPACES = re.compile(r"\s+")


def function_name(text: str) -> str | None:
    """The command for the name of a function; None when there is none."""
    if text in FUNCTIONS:
        return f"\\{text} "
    joined = text.replace(" ", "").replace("\u00a0", "").replace("\u2009", "")
    return f"\\{joined} " if joined in ("limsup", "liminf") else None


def is_word(text: str) -> bool:
    """Letters and digits that are one name and not symbols side by side."""
    return len(text) > 1 and text.isascii() and text[0].isalpha() and text.replace(" ", "").replace("_", "").isalnum()


@writes("mi")
def identifier(node: Node) -> str:
    text = node.text
    variant = node.get("mathvariant")
    if len(text) > 1:
        name = function_name(text) if variant in ("", "normal") else None
        if name is not None:
            return name
        if is_word(text):
            if " " in text:
                return "\\operatorname{" + text.replace(" ", "\\,") + "}"
            if variant in ("", "normal") and (node.get("function") or node.get("data-mjx-texclass") == "OP"):
                return f"\\operatorname{{{text}}}"
            command = "mathit" if variant == "italic" else VARIANTS.get(variant, "mathrm")
            return "\\" + command + "{" + text.replace("_", "\\_") + "}"
        if not text.isascii() and _is_foreign(text):
            return text_command(text)
    elif variant == "normal" and text.isascii() and text.isalpha():
        return f"\\mathrm{{{text}}}"
    elif text in _BARS:
        return _BARS[text]
    return styled(_symbols(text), variant)


def _is_foreign(text: str) -> bool:
    """Words of another script than mathematics has letters of."""
    return any(not character.isascii() and character.isalpha() and symbol(character) == character for character in text)


def _symbols(text: str) -> str:
    if not text.isascii() and _is_foreign(text):
        return "".join(
            text_command(character)
            if not character.isascii() and character.isalpha() and symbol(character) == character
            else symbol(character)
            for character in text
        )
    return symbols(text)


@writes("mn")
def number(node: Node) -> str:
    text = node.text
    if text.isdigit():
        return styled(text, node.get("mathvariant")) if node.attrs else text
    return styled(symbols(text.replace(" ", "\u00a0")), node.get("mathvariant"))


@writes("mo")
def operator(node: Node) -> str:
    text = node.text
    if len(text) > 1:
        name = function_name(text)
        if name is not None:
            return name
        if text.isascii() and text.isalpha():
            return "\\bmod " if text == "mod" else f"\\operatorname{{{text}}}"
        return _symbols(text)
    if text == "∣" and (node.get("fence") == "true" or node.get("stretchy") == "true"):
        return "|"
    variant = node.get("mathvariant")
    if not variant or (not text.isalnum() and text in _UNSTYLED):
        return _symbols(text)
    return f"\\mathrm{{{text}}}" if variant == "normal" and text.isascii() else styled(_symbols(text), variant)


@writes("mtext", "ms")
def text_element(node: Node) -> str:
    if node.children:
        return concatenate([convert(child) for child in _as_text(node)])
    raw = node.text
    if not raw.strip():
        return "\\ " if raw else ""
    if node.tag == "ms":
        raw = (node.attrs.get("lquote") or '"') + raw.strip() + (node.attrs.get("rquote") or '"')
    stripped = raw.strip()
    if stripped[0] == "\\" and _TEX.match(stripped):
        return f"{stripped} "  # what a converter did not know, left as TeX
    text = _SPACES.sub(" ", raw)
    if len(stripped) == 1 and not stripped.isalnum():
        return symbol(stripped)
    latex = text_command(text)
    command = _TEXT_FONTS.get(node.get("mathvariant"))
    return latex.replace("\\text{", f"\\{command}{{", 1) if command else latex


def _as_text(node: Node) -> list[Node]:
    """The children of a text element that holds elements: their words stay words, `<math>` in it is mathematics."""
    found: list[Node] = []
    for child in node.children:
        if child.tag == "#text":
            found.append(Node("mtext", text=f" {child.text} " if len(node.children) > 1 else child.text))
        elif child.tag in ("span", "a", "b", "i", "em", "strong", "p", "div", "u", "font", "code", "bdi"):
            found.append(Node("mtext", child.children, text=child.text, attrs=child.attrs))
        else:
            found.append(child)
    return found


@writes("#text")
def loose_text(node: Node) -> str:
    """Text right in a layout element is taken for an identifier."""
    return _symbols(node.text)


@writes("mspace")
def space(node: Node) -> str:
    if node.get("linebreak") == "newline":
        return "\\\\"
    width = node.get("width").strip()
    size = _NAMED_WIDTHS.get(width)
    if size is None:
        match = _WIDTH.match(width)
        try:
            size = float(match.group(1)) * _UNITS[match.group(2)] if match else 0.0
        except ValueError:  # several signs or points
            size = 0.0
    return space_command(size)


def space_command(size: float) -> str:
    """The spacing command nearest to a width in em."""
    if size < -0.01:
        return "\\!"
    for least, command in ((1.9, "\\qquad "), (0.9, "\\quad "), (0.45, "\\ "), (0.25, "\\;"), (0.2, "\\:")):
        if size > least:
            return command
    return "\\," if size > 0.01 else ""


@writes("mglyph", "img")
def glyph(node: Node) -> str:
    alt = node.get("alt").strip()
    return text_command(alt) if alt else ""
