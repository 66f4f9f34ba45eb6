"""What a server answered: the HTTP response of every kind of capture."""

import hashlib
import json
import random
import re
import zlib
from dataclasses import dataclass

from ops.sample_crawl.languages import ISO_639_3
from ops.sample_crawl.plan import Capture
from ops.sample_crawl.sites import Content, wrap
from ops.sample_crawl.sources import stable_hash

EDIT_WORDS = ("given", "usual", "proper", "whole", "former", "stated", "resulting", "underlying", "ordinary", "present")
WORDS_PER_EDIT = 110
"""One word in so many is replaced: with the added note, Jaccard similarity of word 5-grams comes to about 0.85-0.95."""

TRUNCATED_SHARE = 0.5

_FORMULA_OR_WORD = re.compile(r"\\\(.*?\\\)|\\\[.*?\\\]|[A-Za-z]{4,}", re.DOTALL)
_PARAGRAPH_TEXT = re.compile(r"(<p>)([^<]{60,})")


@dataclass(frozen=True, kw_only=True)
class Response:
    """An HTTP response as it is stored, and what the crawler found out about it."""

    body: bytes
    status: int = 200
    reason: str = "OK"
    content_type: str | None = "text/html; charset=UTF-8"
    location: str | None = None
    mime_detected: str | None = "text/html"
    charset: str | None = "UTF-8"
    language: str | None = "eng"
    truncated: str | None = None
    full_length: int | None = None
    """Length of the body before it was cut."""

    @property
    def mime_type(self) -> str | None:
        return self.content_type.partition(";")[0] if self.content_type else None


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Main content of a documentation page."""

    body: str
    carrier: str | None  # none without formulas
    num_formulas: int
    num_fallback: int


def respond(capture: Capture, rendered: Rendered | None) -> Response:
    """The response of a capture; `rendered` is the content of its documentation page, where it shows one."""
    match capture.kind:
        case "redirect":
            return _redirect(capture)
        case "not_found":
            body = "<p>The page you requested was not found. It may have moved; try the search.</p>"
            page = _site_page(capture, "404 Not Found", body).encode()
            return Response(body=page, status=404, reason="Not Found")
        case "empty":
            return Response(body=b"", mime_detected=None, charset=None, language=None)
        case "boilerplate":
            return Response(body=_site_page(capture, "Search", '<div id="search-results"></div>').encode())
        case "non_html":
            return _file(capture)
        case "evaluation_quiz":
            body = "\n<hr>\n".join(item.as_html() for item in capture.items)
            title = f"Practice questions, set {capture.number + 1}"
            return Response(body=_site_page(capture, title, body).encode())
        case "other_language":
            return _translated(capture)
    assert rendered is not None
    return _documentation(capture, rendered)


def _documentation(capture: Capture, rendered: Rendered) -> Response:
    source = capture.source
    assert source is not None
    body = rendered.body
    if capture.kind == "edited_duplicate":
        body = edit(body, stable_hash(capture.url, capture.crawl))
    elif capture.kind == "evaluation_quote":
        quoted = "\n".join(item.as_html() for item in capture.items)
        body += f"\n<p>A reader sent this exercise along:</p>\n<blockquote>\n{quoted}\n</blockquote>"
    charset = "windows-1252" if capture.kind == "declared_charset" else "utf-8"
    name = source.docstrings[0].qualname
    title = f"{source.module}.{name}" if len(source.docstrings) == 1 and name else source.module
    content = Content(
        title=title,
        section=source.module,
        body=body,
        carrier=rendered.carrier,
        neighbours=source.neighbours,
        charset=charset,
    )
    text = wrap(capture.site, content, capture.url)
    match capture.kind:
        case "bad_charset":  # declared as UTF-8 in header and page, and is not
            return Response(body=text.encode("latin-1", "xmlcharrefreplace"), charset="ISO-8859-1")
        case "declared_charset":
            data = text.encode("windows-1252", "xmlcharrefreplace")
            return Response(body=data, content_type="text/html; charset=windows-1252", charset="windows-1252")
        case "truncated":
            data = text.encode()
            cut = data[: int(len(data) * TRUNCATED_SHARE)]
            return Response(body=cut, truncated="length", full_length=len(data))
    return Response(body=text.encode())


def _site_page(capture: Capture, title: str, body: str) -> str:
    return wrap(capture.site, Content(title=title, section="", body=body), capture.url)


def _translated(capture: Capture) -> Response:
    page = capture.translation
    assert page is not None
    tag = page.language.replace("_", "-")
    content = Content(title=page.title, section="handbook", body=page.body, language=tag)
    text = wrap(capture.site, content, capture.url)
    return Response(body=text.encode(), language=ISO_639_3[page.language])


def _redirect(capture: Capture) -> Response:
    target = capture.url.replace("/en/latest/", "/en/stable/removed/")
    body = (
        f'<html><head><title>301 Moved Permanently</title></head><body>moved <a href="{target}">here</a></body></html>'
    )
    return Response(body=body.encode(), status=301, reason="Moved Permanently", location=target, language=None)


def _file(capture: Capture) -> Response:
    """A PDF, an image and a JSON file in turn."""
    kinds = (("application/pdf", _pdf), ("image/png", _png), ("application/json", _json))
    mime, make = kinds[capture.number % len(kinds)]
    body = make(capture)
    return Response(body=body, content_type=mime, mime_detected=mime, charset=None, language=None)


def _pdf(capture: Capture) -> bytes:
    drawing = f"BT /F1 12 Tf 72 720 Td ({capture.site.title} {capture.site.version} reference card) Tj ET".encode()
    stream = zlib.compress(drawing)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(data))
    return data + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table) + trailer


def _png(capture: Capture) -> bytes:
    """A 16 x 16 image in grey, its bytes a digest of the URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    row = hashlib.md5(capture.url.encode()).digest()
    header = (16).to_bytes(4) + (16).to_bytes(4) + bytes([8, 0, 0, 0, 0])
    pixels = zlib.compress((b"\0" + row) * 16)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _json(capture: Capture) -> bytes:
    inventory = {"project": capture.site.title, "version": capture.site.version, "modules": capture.site.sections}
    return json.dumps(inventory, indent=1).encode()


def edit(body: str, seed: int) -> str:
    """A later version of a page's content: some words replaced in its paragraphs, and a note at the end."""
    generator = random.Random(seed)
    matches = list(_PARAGRAPH_TEXT.finditer(body))
    places = [
        (match.start(2) + word.start(), match.start(2) + word.end())
        for match in matches
        for word in _FORMULA_OR_WORD.finditer(_without_references(match[2]))
        if word[0].isalpha()
    ]
    num_words = len(re.sub(r"<[^>]+>", " ", body).split())
    chosen = sorted(generator.sample(places, min(len(places), max(1, num_words // WORDS_PER_EDIT))), reverse=True)
    for start, end in chosen:
        body = body[:start] + generator.choice(EDIT_WORDS) + body[end:]
    return body + "\n<p>Reviewed for the present release.</p>"


def _without_references(text: str) -> str:
    """`text` with character references blanked out, of the same length."""
    return re.sub(r"&\w+;", lambda match: " " * len(match[0]), text)
