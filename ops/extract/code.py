"""Code in a page: its text as it stands, and its language."""

import re

from ops.extract.registry import Formula
from ops.extract.tree import CODE_CLASSES, CODE_TAGS, Element
from ops.extract.words import words

_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language|lang|highlight-source|highlight(?!\s+highlight-source)|src|brush:?|code)[-\s:]+"
    r"([A-Za-z0-9+#_.-]+)",
    re.IGNORECASE,
)
_SOURCE_CODE = re.compile(
    r"(?:^|\s)(?:sourceCode|src|highlight|prettyprint|syntaxhighlighter|hljs)\s+([A-Za-z0-9+#_.-]+)"
)
_LINES = words("div p li tr pre")
_BETWEEN_LINES = words("table tbody thead tr ol ul")
_NO_LANGUAGE = words(
    "default none text plain plaintext notranslate highlight code nohighlight literal-block ipython3-output nogutter "
    "language-plaintext undefined tab-size"
)


def is_code_block(element: Element) -> bool:
    """Code whose lines are elements, as editors in the page and code hosts show it."""
    return element.tag in ("div", "table") and not CODE_CLASSES.isdisjoint(element.classes)


def has_line_breaks(element: Element) -> bool:
    """Whether code in running text is more than a line."""
    return any(isinstance(child, Element) and child.tag == "br" for child in element.children)


def raw_pieces(element: Element, pieces: list[str | Formula]) -> None:
    """Text as it stands in code, line breaks kept; elements that are lines end in one."""
    for child in element.children:
        if isinstance(child, str):
            if element.tag in _BETWEEN_LINES and child.isspace():
                continue
            pieces.append(child.replace("\r\n", "\n").replace("\u00a0", " "))
        elif isinstance(child, Formula):
            pieces.append(child)
        elif child.tag == "br":
            pieces.append("\n")
        elif not child.dropped or element.tag in CODE_TAGS:
            line = child.tag in _LINES
            raw_pieces(child, pieces)
            if line and pieces and not (isinstance(pieces[-1], str) and pieces[-1].endswith("\n")):
                pieces.append("\n")


def trim_lines(pieces: list[str | Formula]) -> list[str | Formula]:
    """Without empty first and last lines; indentation stays."""
    trimmed = list(pieces)
    while trimmed and isinstance(trimmed[-1], str):
        text = trimmed[-1].rstrip()
        if text:
            trimmed[-1] = text
            break
        trimmed.pop()
    while trimmed and isinstance(trimmed[0], str):
        text = re.sub(r"^(?:[ \t]*\n)+", "", trimmed[0])
        if text.strip():
            trimmed[0] = text
            break
        if text and len(trimmed) > 1:
            trimmed[0] = text
            break
        trimmed.pop(0)
    return trimmed


def language_of(element: Element) -> str | None:
    names = element.attrs.get("class") or ""
    stated = element.attrs.get("data-lang") or element.attrs.get("data-language") or element.attrs.get("lang-code")
    match = _LANGUAGE.search(names) or _SOURCE_CODE.search(names)
    language = stated or (match.group(1) if match else None)
    if language is None or language.lower() in _NO_LANGUAGE or len(language) > 20:
        return None
    return re.sub(r"[^A-Za-z0-9+#_.-]", "", language) or None
