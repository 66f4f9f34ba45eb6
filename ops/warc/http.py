"""The HTTP response in a record's block (RFC 9110, RFC 9112), as crawlers store it.

Crawlers lie about codings: Common Crawl and others store the decoded body, and older crawls kept the headers of the
coded one. So a coding that the body does not have is taken off the list (and told in `stale_codings`) when the body
is plainly markup, and is an error otherwise.
"""

import io
import re
import zlib
from dataclasses import dataclass

from fastwarc.stream_io import BrotliReader, ZstdReader

from ops.warc.record import BLANK_LINE, MAX_HEADER_BYTES, Headers, parse_fields

STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?:[ \t][^\n]*)?\r?\n")
CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
CUT_CHUNK_SIZE = re.compile(rb"[\r\n]*[0-9A-Fa-f]*\r?")
CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([^\s"';,]+)""", re.IGNORECASE)


class BadHttp(Exception):
    """The block is not an HTTP response; the message says why."""


class BadCoding(Exception):
    """The body is not in the content coding it declares, or in one that cannot be removed here."""


class TooLarge(Exception):
    """The decoded body exceeds the limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpResponse:
    """Status, headers and body as stored, its codings still on."""

    status: int
    headers: Headers
    body: bytes

    @property
    def mime_type(self) -> str | None:
        """Media type in lower case without parameters, None when none is declared."""
        value = (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        return value or None

    @property
    def charset(self) -> str | None:
        """The charset parameter as declared, without quotes."""
        match = CHARSET.search(self.headers.get("Content-Type") or "")
        return match.group(1) if match else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """A body without its codings."""

    body: bytes
    complete: bool
    """False when the coded stream ends early."""

    stale: bool
    """The headers declare a coding that the body does not have."""


def parse_response(block: bytes) -> HttpResponse:
    """Status line, headers and body.

    Raises:
        BadHttp: when the block does not begin with a status line, or no blank line ends its header.
    """
    match = STATUS_LINE.match(block, 0, MAX_HEADER_BYTES)
    if match is None:
        raise BadHttp(f"no HTTP status line: {block[:40]!r}")
    end = BLANK_LINE.search(block, match.end() - 2, MAX_HEADER_BYTES)
    if end is None:
        raise BadHttp("no blank line behind the HTTP header")
    headers = parse_fields(block[match.end() : end.start()])
    return HttpResponse(status=int(match.group(1)), headers=headers, body=block[end.end() :])


def remove_transfer_coding(response: HttpResponse) -> Decoded:
    """The body without `Transfer-Encoding: chunked`.

    Raises:
        BadHttp: when a chunk is not where it should be, or another transfer coding is declared.
    """
    codings = _codings(response.headers, "Transfer-Encoding")
    if not codings:
        return Decoded(body=response.body, complete=True, stale=False)
    if codings != ["chunked"]:
        raise BadHttp(f"transfer coding {codings} is not supported")
    if CHUNK_SIZE.match(response.body) is None:
        return Decoded(body=response.body, complete=True, stale=True)
    parts: list[bytes] = []
    position = 0
    while True:
        size_line = CHUNK_SIZE.match(response.body, position)
        if size_line is None:
            if CUT_CHUNK_SIZE.fullmatch(response.body, position):
                return Decoded(body=b"".join(parts), complete=False, stale=False)
            raise BadHttp(f"no chunk size at byte {position} of the body")
        size = int(size_line.group(1), 16)
        if size == 0:
            return Decoded(body=b"".join(parts), complete=True, stale=False)
        chunk = response.body[size_line.end() : size_line.end() + size]
        parts.append(chunk)
        if len(chunk) < size:
            return Decoded(body=b"".join(parts), complete=False, stale=False)
        position = size_line.end() + size
        for line_end in (b"\r\n", b"\n"):
            if response.body.startswith(line_end, position):
                position += len(line_end)
                break


def remove_content_codings(headers: Headers, body: bytes, *, max_bytes: int) -> Decoded:
    """`body` without gzip, deflate, br and zstd, in whatever order they are declared.

    Raises:
        BadCoding: for an unknown coding, or a body that is neither in its coding nor markup.
        TooLarge: when more than `max_bytes` come out.
    """
    complete, stale = True, False
    for coding in reversed(_codings(headers, "Content-Encoding")):
        if not body:
            break
        try:
            body, whole = _remove(coding, body, max_bytes)
            complete = complete and whole
        except BadCoding:
            if not looks_like_markup(body):
                raise
            stale = True
    return Decoded(body=body, complete=complete, stale=stale)


def looks_like_markup(body: bytes) -> bool:
    """Whether the first visible character is `<`."""
    return body[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def _codings(headers: Headers, name: str) -> list[str]:
    listed = [coding.strip().lower() for value in headers.all(name) for coding in value.split(",")]
    return [coding for coding in listed if coding not in ("", "identity", "none", "utf-8")]


def _remove(coding: str, body: bytes, max_bytes: int) -> tuple[bytes, bool]:
    if coding in ("gzip", "x-gzip"):
        return _inflate(body, 31, max_bytes)
    if coding == "deflate":  # meant to be zlib (RFC 9110 8.4.1.2); many servers send it without the zlib header
        try:
            return _inflate(body, 15, max_bytes)
        except BadCoding:
            return _inflate(body, -15, max_bytes)
    if coding in ("br", "zstd"):
        return _read_all(coding, body, max_bytes), True
    raise BadCoding(f"content coding {coding!r} is not supported")


def _inflate(body: bytes, wbits: int, max_bytes: int) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    while True:
        inflater = zlib.decompressobj(wbits=wbits)
        try:
            data = inflater.decompress(body, max_bytes + 1 - size)
        except zlib.error as error:
            raise BadCoding(f"body does not inflate: {error}") from None
        parts.append(data)
        size += len(data)
        if size > max_bytes:
            raise TooLarge(f"decoded body exceeds {max_bytes} bytes")
        body = inflater.unused_data
        if not inflater.eof:
            return b"".join(parts), False
        if wbits != 31 or not body.startswith(b"\x1f\x8b"):  # only gzip may be several streams; the rest is padding
            return b"".join(parts), True


def _read_all(coding: str, body: bytes, max_bytes: int) -> bytes:
    reader = (BrotliReader if coding == "br" else ZstdReader)(io.BytesIO(body))
    data = bytearray()
    try:
        while piece := reader.read(min(1 << 20, max_bytes + 1 - len(data))):
            data += piece
            if len(data) > max_bytes:
                raise TooLarge(f"decoded body exceeds {max_bytes} bytes")
    except OSError as error:
        raise BadCoding(f"body is not {coding}: {error}") from None
    return bytes(data)
