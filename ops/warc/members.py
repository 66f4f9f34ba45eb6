"""Gzip members of a file one after the other, with their offsets (RFC 1952)."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_MAGIC = b"\x1f\x8b\x08"
CHUNK_BYTES = 64 * 1024
INFLATED_BYTES = 1024 * 1024
SCAN_BYTES = 1024 * 1024


class BrokenMember(Exception):
    """The bytes at the reader's position do not inflate; the message says why."""


class MemberReader:
    """Inflates the members of a seekable file in turn. `position` is the offset of the next one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek(0)

    def seek(self, offset: int) -> None:
        """Go to the member at `offset`."""
        self._file.seek(offset)
        self._pending = b""
        self.position = offset

    def at_end(self) -> bool:
        """Whether nothing follows."""
        if not self._pending:
            self._pending = self._file.read(CHUNK_BYTES)
        return not self._pending

    def inflate(self) -> Iterator[bytes]:
        """The next member in chunks of at most `INFLATED_BYTES`; `position` moves behind it when all are taken.

        Raises:
            BrokenMember: when the bytes are no gzip member, are damaged or end early. `position` does not move.
        """
        inflater = zlib.decompressobj(wbits=31)
        pending, taken = self._pending, len(self._pending)
        while not inflater.eof:
            if not pending:
                pending = self._file.read(CHUNK_BYTES)
                taken += len(pending)
            at_end = not pending
            try:
                data = inflater.decompress(pending, INFLATED_BYTES)
            except zlib.error as error:
                raise BrokenMember(f"not a readable gzip member: {error}") from None
            pending = inflater.unconsumed_tail
            if data:
                yield data
            elif at_end and not inflater.eof:
                raise BrokenMember("the file ends inside a gzip member")
        self._pending = inflater.unused_data
        self.position += taken - len(self._pending)


def find_member(file: BinaryIO, start: int) -> int | None:
    """Offset of the first member at or behind `start` whose content begins with `WARC/`, None when there is none."""
    file.seek(start)
    window = b""
    while True:
        chunk = file.read(SCAN_BYTES)
        window += chunk
        searched = max(0, len(window) - CHUNK_BYTES) if chunk else len(window)
        found = window.find(DEFLATE_MAGIC)
        while found != -1 and found < searched:
            if _begins_record(window[found : found + CHUNK_BYTES]):
                return start + found
            found = window.find(DEFLATE_MAGIC, found + 1)
        if not chunk:
            return None
        window = window[searched:]
        start += searched


def _begins_record(data: bytes) -> bool:
    try:
        return zlib.decompressobj(wbits=31).decompress(data, 5) == b"WARC/"
    except zlib.error:
        return False
