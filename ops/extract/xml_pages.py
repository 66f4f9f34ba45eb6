"""XHTML that is served as XML, in the notation that an HTML parser reads as the same document."""

import re
from html import escape

from ops.extract.words import words

MIME_TYPES = ("application/xhtml+xml", "application/xml", "text/xml")
_XML = re.compile(r"^\s*<\?xml[^>]*\?>")
_NAMESPACE = re.compile(
    r"""xmlns:([A-Za-z][\w.-]*)\s*=\s*["']https?://www\.w3\.org/(?:1998/Math/MathML|1999/xhtml)/?["']"""
)
_USUAL_PREFIX = re.compile(
    r"<(/?)(?:mml|m|mathml|ns\d):(?=(?:math|m[a-z]+|semantics|annotation|none)\b)", re.IGNORECASE
)
_CDATA = re.compile(
    r"(<(script|style)\b[^<>]*+(?<!/)>(?:(?!<\2\b).)*?</\2\s*+>)|<!\[CDATA\[(.*?)\]\]>", re.DOTALL | re.IGNORECASE
)
_EMPTY = re.compile(r"<([A-Za-z][A-Za-z0-9]*)((?:\s[^<>]*)?)/>")
_VOID = words("area base br col embed hr img input link meta param source track wbr")
_FOREIGN = re.compile(r"(<(math|svg)\b(?:(?!<\2\b).)*?</\2\s*+>)", re.DOTALL)


def is_xml(html: str, mime: str) -> bool:
    """Whether a browser would read the page as XML; without a header the XML declaration and a namespace say so."""
    if mime:
        return mime in MIME_TYPES
    return _XML.match(html) is not None and "http://www.w3.org/1999/xhtml" in html[:2000]


def without_prefixes(html: str) -> str:
    """Elements of MathML and XHTML with a namespace prefix, without it."""
    prefixed = "xmlns:" in html and ("1998/Math/MathML" in html or "1999/xhtml" in html)
    prefixes = set(_NAMESPACE.findall(html)) if prefixed else set()
    if prefixes:
        html = re.sub(rf"<(/?)(?:{'|'.join(map(re.escape, sorted(prefixes)))}):(?=[A-Za-z])", r"<\1", html)
    return _USUAL_PREFIX.sub(r"<\1", html) if ":math" in html else html


def without_declaration(html: str) -> str:
    return _XML.sub("", html, count=1)


def as_html(html: str) -> str:
    """CDATA sections become text, and elements closed in their start tag get an end tag."""
    html = _CDATA.sub(lambda match: match.group(1) or escape(match.group(3), quote=False), html)
    parts = _FOREIGN.split(html)
    # Of every three parts the first is HTML, the second an element that HTML parsers read as XML, the third its name.
    return "".join(
        _EMPTY.sub(_closed, part) if index % 3 == 0 else part for index, part in enumerate(parts) if index % 3 != 2
    )


def _closed(match: re.Match[str]) -> str:
    name, attributes = match.groups()
    return match.group() if name.lower() in _VOID else f"<{name}{attributes}></{name}>"
