"""WARC records (ISO 28500:2017, WARC/1.0 header fields as Common Crawl writes them), a gzip member each."""

import base64
import hashlib
import uuid
import zlib
from collections.abc import Sequence

NAMESPACE = uuid.UUID("3c1f6a0e-7d43-5be0-9a57-6f1f2b8f0c11")
"""Record ids are `uuid5` under this, so that the same crawl gets the same ids."""

Headers = Sequence[tuple[str, str]]


def record_id(*parts: object) -> uuid.UUID:
    """A record's id, by what it is."""
    return uuid.uuid5(NAMESPACE, "\n".join(str(part) for part in parts))


def digest(data: bytes) -> str:
    """SHA-1 in base32, as in `WARC-Payload-Digest: sha1:...`."""
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def record(
    record_type: str,
    *,
    identifier: uuid.UUID,
    date: str,
    content_type: str,
    block: bytes,
    headers: Headers = (),
    content_length: int | None = None,
) -> bytes:
    """One record as bytes, not compressed. A `content_length` that is not the block's makes a broken record."""
    fields = [
        ("WARC-Type", record_type),
        ("WARC-Date", date),
        ("WARC-Record-ID", f"<urn:uuid:{identifier}>"),
        ("Content-Length", str(len(block) if content_length is None else content_length)),
        ("Content-Type", content_type),
        *headers,
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return b"WARC/1.0\r\n" + head.encode() + b"\r\n" + block + b"\r\n\r\n"


def gzip_member(data: bytes) -> bytes:
    """`data` as a gzip member of its own, without name and time."""
    compressor = zlib.compressobj(level=6, wbits=31)
    return compressor.compress(data) + compressor.flush()


def http_response(status: int, reason: str, headers: Headers, body: bytes) -> bytes:
    """The block of a response record."""
    head = f"HTTP/1.1 {status} {reason}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    return head.encode() + b"\r\n" + body


def warc_fields(fields: Headers) -> bytes:
    """The block of a warcinfo or metadata record (`application/warc-fields`)."""
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode() + b"\r\n"
