"""One WARC record, or what is left of one."""

import re
from dataclasses import dataclass
from typing import Literal

MAX_HEADER_BYTES = 64 * 1024
"""A WARC or HTTP header longer than this is taken for damage."""

BLANK_LINE = re.compile(rb"\r?\n\r?\n")
VERSION_LINE = re.compile(rb"WARC/[01]\.\d+\r?\n")

DamageReason = Literal["wrong_length", "corrupt_record", "corrupt_tail", "bad_warc_header"]


class Headers:
    """Header fields by case-insensitive name, repeated ones in order."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields
        self._first: dict[str, str] = {}
        for name, value in fields:
            self._first.setdefault(name.lower(), value)

    def get(self, name: str) -> str | None:
        """The first value of `name`, None when there is none."""
        return self._first.get(name.lower())

    def all(self, name: str) -> list[str]:
        """Every value of `name`."""
        wanted = name.lower()
        return [value for key, value in self.fields if key.lower() == wanted]


@dataclass(frozen=True, kw_only=True, slots=True)
class WarcRecord:
    """A whole record."""

    offset: int
    """Of its first stored (compressed) byte in the file."""

    length: int
    """Stored bytes, up to the next record."""

    headers: Headers
    block: bytes
    """What follows the header, cut at the reader's `max_block_bytes`."""

    block_length: int
    """Content-Length: bytes of the block before the cut."""

    @property
    def type(self) -> str:
        return (self.headers.get("WARC-Type") or "").lower()

    @property
    def url(self) -> str:
        return target_uri(self.headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """Stored bytes that are not a readable record.

    `wrong_length`: Content-Length is not the block's length. `bad_warc_header`: it is a record, but its header has no
    usable Content-Length or type. `corrupt_record`: bytes that cannot be read, with a readable record behind them.
    `corrupt_tail`: the same up to the end of the file.
    """

    offset: int
    length: int
    reason: DamageReason
    detail: str
    headers: Headers | None = None
    """What could be read of its header."""

    @property
    def url(self) -> str:
        return target_uri(self.headers) if self.headers else ""


def target_uri(headers: Headers) -> str:
    """WARC-Target-URI, without the angle brackets that WARC/1.0 writers such as wget put around it."""
    uri = (headers.get("WARC-Target-URI") or "").strip()
    return uri[1:-1] if uri.startswith("<") and uri.endswith(">") else uri


def parse_fields(data: bytes) -> Headers:
    """Header lines `Name: value`; a line that starts with white space goes on with the one before it.

    Bytes that are not UTF-8 become backslash escapes. Lines without a colon are left out.
    """
    fields: list[tuple[str, str]] = []
    for line in data.decode("utf-8", errors="backslashreplace").split("\n"):
        line = line.rstrip("\r")
        if line[:1] in (" ", "\t") and fields:
            name, value = fields[-1]
            fields[-1] = (name, f"{value} {line.strip()}".strip())
            continue
        name, colon, value = line.partition(":")
        if colon and name.strip():
            fields.append((name.strip(), value.strip()))
    return Headers(fields)


def content_length(headers: Headers) -> int | None:
    """Content-Length, or None when it is absent, repeated with other values, or not a number."""
    values = set(headers.all("Content-Length"))
    if len(values) != 1:
        return None
    value = values.pop()
    return int(value) if value.isascii() and value.isdigit() else None
