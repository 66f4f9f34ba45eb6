"""Bytes to text: which encoding, and how many characters were lost."""

import codecs
import re
from dataclasses import dataclass

META_SCAN_BYTES = 4096
"""How far into a page a `<meta charset>` is looked for. The HTML standard asks for 1024; real pages put it later."""

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"""<meta[^>]{0,500}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_XML = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]+)""")
_HTTP = re.compile(r"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_SEVEN_BIT = ("iso2022", "hz", "utf_7", "utf-7")
_LATIN1 = {"iso8859-1", "ascii", "latin-1"}


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A page as text."""

    text: str
    encoding: str
    """Python's name of the codec; `str` when the page was given as text."""

    num_replaced: int
    """Characters that could not be decoded and became U+FFFD."""


def charset_of(content_type: str | None) -> str | None:
    """The charset parameter of a Content-Type header."""
    match = _HTTP.search(content_type or "")
    return match.group(1) if match else None


def decode(html: bytes | str, content_type: str | None = None) -> Decoded:
    """Decode a page.

    Order: byte order mark; UTF-8 when the bytes are valid UTF-8 (a page that is valid UTF-8 by chance does not exist,
    pages that declare something else do); the charset of the HTTP header; that of `<meta>` or the XML declaration;
    detection. The first that decodes without an error wins; when none does, the one that loses the least.
    """
    if isinstance(html, str):
        text, num_replaced = _SURROGATES.subn("\ufffd", html)
        return Decoded(text=text, encoding="str", num_replaced=num_replaced)
    for bom, name in _BOMS:
        if html.startswith(bom):
            return _with_replacement(html[len(bom) :], name)
    declared = _declared(html, content_type)
    if not any(name.startswith(_SEVEN_BIT) for name in declared):
        try:
            return Decoded(text=html.decode("utf-8"), encoding="utf-8", num_replaced=0)
        except UnicodeDecodeError:
            pass
    candidates = [*declared, *_detected(html), "utf-8"]
    best: Decoded | None = None
    for name in dict.fromkeys(candidates):
        decoded = _with_replacement(html, name)
        if decoded.num_replaced == 0:
            return decoded
        if best is None or decoded.num_replaced < best.num_replaced:
            best = decoded
    assert best is not None
    return best


def _declared(html: bytes, content_type: str | None) -> list[str]:
    labels = [charset_of(content_type)]
    head = html[:META_SCAN_BYTES]
    for pattern in (_META, _XML):
        match = pattern.search(head)
        labels.append(match.group(1).decode("ascii") if match else None)
    names = []
    for label in labels:
        name = _codec(label) if label else None
        # A page that was read as ASCII up to its declaration is not UTF-16, whatever it says (HTML standard).
        if name is not None and not (name.startswith("utf-16") or name.startswith("utf-32")):
            names.append(name)
    return names


def _codec(label: str) -> str | None:
    """Python's codec for a label of the web; None when there is none."""
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return None
    if name in _LATIN1:
        return "cp1252"  # what every browser reads for ISO-8859-1 and ASCII
    try:
        "".encode(name)
        b"".decode(name)
    except (LookupError, UnicodeError):
        return None  # a codec that is not a character encoding, such as hex or rot13
    return name


def _detected(html: bytes) -> list[str]:
    from resiliparse.parse.encoding import detect_encoding

    label = detect_encoding(html[: 2**18])
    name = _codec(label) if label else None
    return [name] if name else []


def _with_replacement(html: bytes, name: str) -> Decoded:
    text = html.decode(name, "replace")
    num_replaced = text.count("\ufffd")
    if num_replaced and name == "utf-8":
        num_replaced -= html.count(b"\xef\xbf\xbd")  # these were in the page already
    return Decoded(text=text, encoding=name, num_replaced=num_replaced)
