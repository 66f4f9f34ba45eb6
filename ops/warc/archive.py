"""Reading a whole WARC file, record by record, past whatever damage it has.

Libraries read on over a Content-Length that is a lie: the next record is swallowed, or reading ends there. Here a
record is what its frame holds: the gzip member (a member per record, as ISO 28500 annex D and Common Crawl have it) or,
in a file that is not compressed, the bytes up to the next `WARC/` behind a blank line.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from ops.errors import InputError
from ops.warc.members import GZIP_MAGIC, BrokenMember, MemberReader, find_member
from ops.warc.record import (
    BLANK_LINE,
    MAX_HEADER_BYTES,
    VERSION_LINE,
    Damage,
    Headers,
    WarcRecord,
    content_length,
    parse_fields,
)

RECORD_END = b"\r\n\r\n"
NEXT_RECORD = re.compile(rb"\n\r?\n(?=WARC/[01]\.\d+\r?\n)")
SCAN_BYTES = 1024 * 1024
OTHER_MAGIC = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


def read_archive(file: BinaryIO, name: str, *, max_block_bytes: int) -> Iterator[WarcRecord | Damage]:
    """The records of a seekable WARC file in order; blocks are cut at `max_block_bytes`.

    Offsets and lengths of what is yielded cover the file without gap or overlap.

    Raises:
        InputError: names the file, when it is empty, no WARC, in a compression other than gzip, without one readable
            record, or when a gzip member holds more than one record, so that no record has an offset.
    """
    file.seek(0)
    magic = file.read(6)
    if not magic:
        raise InputError(f"{name}: the file is empty")
    for start, compression in OTHER_MAGIC.items():
        if magic.startswith(start):
            raise InputError(f"{name}: {compression} compression is not supported; recompress it to .warc.gz")
    if magic.startswith(GZIP_MAGIC):
        items = _gzip_records(file, name, max_block_bytes)
    elif magic.startswith(b"WARC/"):
        items = _plain_records(file, max_block_bytes)
    else:
        raise InputError(f"{name}: not a WARC file: it begins with {magic!r}")
    first_damage: Damage | None = None
    found = False
    for item in items:
        found = found or item.headers is not None
        if isinstance(item, Damage):
            first_damage = first_damage or item
        yield item
    if not found and first_damage is not None:
        raise InputError(f"{name}: not a WARC file: it has no readable record ({first_damage.detail})")


class Assembler:
    """Puts a record together from the inflated chunks of its gzip member, holding `max_block_bytes` of it at most."""

    def __init__(self, name: str, offset: int, max_block_bytes: int) -> None:
        self.headers: Headers | None = None
        self._name = name
        self._offset = offset
        self._limit = MAX_HEADER_BYTES + max_block_bytes
        self._max_block_bytes = max_block_bytes
        self._kept = bytearray()
        self._size = 0
        self._header_end = 0
        self._declared: int | None = None
        self._behind = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next inflated bytes.

        Raises:
            InputError: when another record follows in the same member.
        """
        self._kept += chunk[: self._limit - len(self._kept)]
        if self.headers is None and VERSION_LINE.match(self._kept):
            match = BLANK_LINE.search(self._kept, 0, MAX_HEADER_BYTES)
            if match:
                self.headers = parse_fields(bytes(self._kept[: match.start()]))
                self._header_end = match.end()
                self._declared = content_length(self.headers)
        if self._declared is not None and len(self._behind) < 9:
            start = max(0, self._header_end + self._declared + len(self._behind) - self._size)
            self._behind += chunk[start : start + 9 - len(self._behind)]
            if self._behind == RECORD_END + b"WARC/":
                raise InputError(
                    f"{self._name}: the gzip member at offset {self._offset} holds more than one record, so its records"
                    f" have no offsets; recompress it record by record: warcio recompress {self._name} FIXED.warc.gz"
                )
        self._size += len(chunk)

    def finish(self, length: int) -> WarcRecord | Damage:
        """The record of the whole member, which has `length` stored bytes."""
        if self.headers is None:
            detail = f"gzip member at offset {self._offset} is no WARC record: begins with {bytes(self._kept[:16])!r}"
            return Damage(offset=self._offset, length=length, reason="corrupt_record", detail=detail)
        if self._declared is None:
            return bad_header(self._offset, length, self.headers)
        if self._behind != RECORD_END:
            held = max(0, self._size - self._header_end)
            detail = f"Content-Length is {self._declared}, block and record end have {held} bytes"
            return Damage(
                offset=self._offset, length=length, reason="wrong_length", detail=detail, headers=self.headers
            )
        cut = min(self._declared, self._max_block_bytes)
        return WarcRecord(
            offset=self._offset,
            length=length,
            headers=self.headers,
            block=bytes(self._kept[self._header_end : self._header_end + cut]),
            block_length=self._declared,
        )


def bad_header(offset: int, length: int, headers: Headers) -> Damage:
    """Damage of a record whose header does not say how long it is."""
    lengths = headers.all("Content-Length")
    detail = f"Content-Length is {lengths}" if lengths else "no Content-Length"
    return Damage(offset=offset, length=length, reason="bad_warc_header", detail=detail, headers=headers)


def _gzip_records(file: BinaryIO, name: str, max_block_bytes: int) -> Iterator[WarcRecord | Damage]:
    reader = MemberReader(file)
    while not reader.at_end():
        start = reader.position
        assembler = Assembler(name, start, max_block_bytes)
        try:
            for chunk in reader.inflate():
                assembler.feed(chunk)
        except BrokenMember as error:
            following = find_member(file, start + 1)
            end = following if following is not None else file.seek(0, 2)
            yield Damage(
                offset=start,
                length=end - start,
                reason="corrupt_tail" if following is None else "corrupt_record",
                detail=f"at offset {start}: {error}",
                headers=assembler.headers,
            )
            reader.seek(end)
            continue
        yield assembler.finish(reader.position - start)


def _plain_records(file: BinaryIO, max_block_bytes: int) -> Iterator[WarcRecord | Damage]:
    size = file.seek(0, 2)
    start = 0
    while start < size:
        file.seek(start)
        head = file.read(MAX_HEADER_BYTES)
        match = BLANK_LINE.search(head) if VERSION_LINE.match(head) else None
        headers = parse_fields(head[: match.start()]) if match else None
        declared = content_length(headers) if headers else None
        if match is None or headers is None or declared is None:
            end = _find_plain_record(file, start + 1, size)
            if headers is not None:
                yield bad_header(start, (end or size) - start, headers)
            else:
                yield _unreadable(start, end, size, f"no WARC record at offset {start}: {head[:16]!r}", None)
            start = end or size
            continue
        block_start = start + match.end()
        block_end = block_start + declared
        if block_end + len(RECORD_END) > size or _read_at(file, block_end, len(RECORD_END)) != RECORD_END:
            end = _find_plain_record(file, block_start, size)
            if end is None and block_end + len(RECORD_END) > size:
                detail = f"at offset {start}: Content-Length {declared} reaches behind the end of the file"
                yield _unreadable(start, None, size, detail, headers)
            else:
                detail = f"Content-Length is {declared}, block and record end have {(end or size) - block_start} bytes"
                length = (end or size) - start
                yield Damage(offset=start, length=length, reason="wrong_length", detail=detail, headers=headers)
            start = end or size
            continue
        end = block_end + len(RECORD_END)
        yield WarcRecord(
            offset=start,
            length=end - start,
            headers=headers,
            block=_read_at(file, block_start, min(declared, max_block_bytes)),
            block_length=declared,
        )
        start = end


def _unreadable(start: int, end: int | None, size: int, detail: str, headers: Headers | None) -> Damage:
    reason = "corrupt_tail" if end is None else "corrupt_record"
    return Damage(offset=start, length=(end or size) - start, reason=reason, detail=detail, headers=headers)


def _read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _find_plain_record(file: BinaryIO, start: int, size: int) -> int | None:
    """Offset, at or behind `start`, of the next `WARC/` line with a blank line before it."""
    overlap = 32
    position = max(0, start - overlap)
    while position < size:
        window = _read_at(file, position, SCAN_BYTES)
        for match in NEXT_RECORD.finditer(window):
            if position + match.end() >= start:
                return position + match.end()
        if position + len(window) >= size:
            return None
        position += len(window) - overlap
    return None
