"""Characters of MathJax's boxes: text, code points in class names, or code points in `data-c`."""

import re
from html import escape

from selectolax.lexbor import LexborNode

from ops.extract.mathjax.boxes import CODE_POINT
from ops.extract.symbols import plain_letters

_LETTER_FONT = re.compile(
    r"\b(?:[A-Z]{2,4}|MJXc-TeX|MJX-\d+-[A-Z]{2,4})-(ams|cal|frak|script|sans|type|main|CB?|FRB?|SC|SS[BI]?|T)"
    r"(?:-([RBI]+))?(?=$|[\s-])"
)
_FONTS = {
    "C": "script", "CB": "bold-script", "cal": "script", "SC": "script", "script": "script", "FR": "fraktur",
    "FRB": "bold-fraktur", "frak": "fraktur", "SS": "sans-serif", "SSB": "bold-sans-serif", "SSI": "sans-serif",
    "sans": "sans-serif", "T": "monospace", "type": "monospace", "ams": "double-struck",
}  # fmt: skip
_TALL = {
    **dict.fromkeys("⎛⎜⎝", "("), **dict.fromkeys("⎞⎟⎠", ")"), **dict.fromkeys("⎡⎢⎣", "["), **dict.fromkeys("⎤⎥⎦", "]"),
    **dict.fromkeys("⎧⎨⎩", "{"), **dict.fromkeys("⎫⎬⎭", "}"), **dict.fromkeys("⎪⏐", "|"), "∣": "|", "⌠": "∫",
}  # fmt: skip
PRIVATE = re.compile("[\ue000-\uf8ff]")
LETTERS = re.compile(
    r'<mi mathvariant="(sans-serif|monospace|bold)">[A-Za-z]</mi>(?:<mi mathvariant="\1">[A-Za-z]</mi>)+'
)


def token_markup(kind: str, node: LexborNode) -> str:
    characters: list[str] = []
    variants: set[str] = set()
    stretched = False
    for below in node.traverse(include_text=True):
        tag = below.tag or ""
        if tag == "-text":
            around = below.parent
            if around is not None and around.tag != "mjx-c":
                characters.append(below.text_content or "")
                _font(around.attributes.get("class") or "", variants)
        elif tag == "mjx-c" or tag.startswith("mjx-stretchy"):
            names = below.attributes.get("class") or ""
            code = CODE_POINT.search(names)
            characters.append(_from_hex(code.group(1)) if code else (below.text(deep=True) or ""))
            _font(names, variants)
            if tag != "mjx-c":
                break  # its parts follow
        elif tag in ("use", "path") and below.attributes.get("data-c"):
            characters.append(_from_hex(below.attributes["data-c"] or ""))
            _font(below.attributes.get("xlink:href") or below.attributes.get("href") or "", variants)
        elif "mjx-delim" in (below.attributes.get("class") or ""):
            stretched = True
    text = "".join(characters).replace("\u200b", "")
    if kind != "mtext":
        text = text.strip()
    if kind == "mo" and (stretched or len(text) > 1):
        text = _assembled(text)
    if not text:
        return "<mrow></mrow>" if kind == "mo" else ""
    plain, variant = plain_letters(text)
    if not variant and plain == text and plain.isascii():
        if len(variants) == 1 and plain.isalnum():
            variant = next(iter(variants))
        elif kind == "mi" and len(plain) == 1 and "math" not in variants:
            variant = "normal"
    style = f' mathvariant="{variant}"' if variant and variant != "math" else ""
    return f"<{kind}{style}>{escape(plain)}</{kind}>"


def join_letters(match: re.Match[str]) -> str:
    """Version 2 writes a word of a font letter by letter."""
    letters = re.sub(r"<[^>]*>", "", match.group())
    return f'<mi mathvariant="{match.group(1)}">{letters}</mi>'


def _font(names: str, variants: set[str]) -> None:
    if "MJXc-TeX-math-" in names:
        variants.add("bold-italic" if "-BI" in names else "math")
        return
    font = _LETTER_FONT.search(names)
    if font is None:
        return
    variant = _FONTS.get(font.group(1))
    if font.group(2) and "B" in font.group(2):
        variant = "bold" if variant is None else variant
    if variant:
        variants.add(variant)


def _from_hex(code: str) -> str:
    """The character of a code point; nothing for what is none."""
    try:
        number = int(code, 16)
    except ValueError:
        return ""
    return chr(number) if 0x20 <= number < 0xD800 or 0xE000 <= number < 0x110000 else ""


def _assembled(text: str) -> str:
    """A delimiter that is drawn in parts."""
    text = "".join(text.split())
    tall = {_TALL.get(character, character) for character in text if not PRIVATE.match(character)}
    if any(character in _TALL for character in text) and len(tall - {"|"}) <= 1:
        return next(iter(tall - {"|"}), "|")
    if len(set(text)) == 1 and not text[0].isalnum() and text[0] not in "!.'":
        return text[0]
    return text
