"""Whole WARC files: every record with its place, and whatever is wrong with the rest."""

import gzip
import io
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from ops.errors import InputError
from ops.warc.archive import read_archive
from ops.warc.record import Damage, WarcRecord
from tests.ops.crawl_warcs import http_block, members, page, raw_record, write_warc

REAL = Path(__file__).parents[3] / "shared" / "data" / "warc"
LARGE = 1 << 30


def read(data: bytes, max_block_bytes: int = LARGE) -> list[WarcRecord | Damage]:
    return list(read_archive(io.BytesIO(data), "test.warc", max_block_bytes=max_block_bytes))


def by_warcio(stream: Any) -> list[tuple]:
    iterator = ArchiveIterator(stream, no_record_parse=True)
    found = []
    for record in iterator:
        block = record.raw_stream.read()
        url = (record.rec_headers.get_header("WARC-Target-URI") or "").strip("<>")
        found.append((iterator.get_record_offset(), iterator.get_record_length(), record.rec_type, url, block))
    return found


def as_tuples(items: list[WarcRecord | Damage]) -> list[tuple]:
    return [(r.offset, r.length, r.type, r.url, r.block) for r in items if isinstance(r, WarcRecord)]


def kinds(items: list[WarcRecord | Damage]) -> list[str]:
    return [item.reason if isinstance(item, Damage) else item.url.rpartition("/")[2] for item in items]


def assert_tiles(items: list[WarcRecord | Damage], size: int) -> None:
    position = 0
    for item in items:
        assert item.offset == position
        assert item.length > 0
        position += item.length
    assert position == size


@pytest.mark.parametrize("compress", [True, False])
@settings(max_examples=25)
@given(bodies=st.lists(st.binary(max_size=3000), min_size=1, max_size=5))
def test_same_records_as_warcio(tmp_path_factory, compress, bodies):
    path = tmp_path_factory.mktemp("warc") / "a.warc"
    write_warc(path, {f"https://site.example/{n}": body for n, body in enumerate(bodies)}, compress=compress)
    items = read(path.read_bytes())
    expected = by_warcio(io.BytesIO(path.read_bytes()))
    if not compress:  # warcio leaves the two line ends out of a length where nothing is compressed
        expected = [(offset, length + 4, *rest) for offset, length, *rest in expected]
    assert as_tuples(items) == expected
    assert_tiles(items, path.stat().st_size)


@pytest.mark.parametrize("path", sorted(REAL.glob("*.gz")) or [None], ids=lambda path: path.name if path else "absent")
def test_real_files_read_as_warcio_reads_them(path):
    if path is None:
        pytest.skip(f"no WARC files in {REAL}")
    with path.open("rb") as stream:
        items = list(read_archive(stream, path.name, max_block_bytes=LARGE))
    with path.open("rb") as stream:
        assert as_tuples(items) == by_warcio(stream)
    assert_tiles(items, path.stat().st_size)


LIES = {
    "too short": lambda length: str(length - 20),
    "four too long": lambda length: str(length + 4),
    "too long": lambda length: str(length + 50),
    "longer than the file": lambda length: str(length + 100_000),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("join", [members, lambda *records: b"".join(records)], ids=["gzip", "plain"])
def test_a_wrong_content_length_costs_one_record(join, lie):
    block = http_block(b"<html>" + b"y" * 200)
    wrong = raw_record("https://site.example/wrong", block, content_length=lie(len(block)))
    data = join(page(0), wrong, page(2), page(3))
    items = read(data)
    assert kinds(items) == ["0", "wrong_length", "2", "3"]
    assert items[1].url == "https://site.example/wrong"
    assert_tiles(items, len(data))


def test_a_wrong_length_that_ends_where_a_later_record_ends_is_seen_in_gzip():
    first, second = page(1), page(2)
    block = http_block()
    lie = raw_record("https://site.example/lie", block, content_length=str(len(block) + 4 + len(second)))
    assert kinds(read(members(first, lie, second))) == ["1", "wrong_length", "2"]


@pytest.mark.parametrize("length", ["", "-5", "12x", "9" * 5 + " 1"])
@pytest.mark.parametrize("join", [members, lambda *records: b"".join(records)], ids=["gzip", "plain"])
def test_an_unusable_content_length_costs_one_record(join, length):
    data = join(page(0), raw_record("https://site.example/bad", http_block(), content_length=length), page(2))
    items = read(data)
    assert kinds(items) == ["0", "bad_warc_header", "2"]
    assert_tiles(items, len(data))


def test_a_damaged_member_in_the_middle_costs_one_record():
    parts = [members(page(number)) for number in range(4)]
    parts[1] = parts[1][:60] + bytes([parts[1][60] ^ 0xFF]) + parts[1][61:]
    data = b"".join(parts)
    items = read(data)
    assert kinds(items) == ["0", "corrupt_record", "2", "3"]
    assert items[1].offset == len(parts[0])
    assert_tiles(items, len(data))


@pytest.mark.parametrize("tail", [b"garbage" * 40, b"\0" * 512, members(page(7))[:-9], b"\x1f\x8b"])
def test_a_corrupt_tail_is_reported_with_its_offset(tail):
    good = members(page(0), page(1))
    items = read(good + tail)
    assert kinds(items) == ["0", "1", "corrupt_tail"]
    assert items[2].offset == len(good)
    assert items[2].length == len(tail)
    assert isinstance(items[2], Damage)
    assert str(len(good)) in items[2].detail


def test_a_plain_file_that_ends_early():
    good = page(0)
    items = read(good + page(1)[:-30])
    assert kinds(items) == ["0", "corrupt_tail"]
    assert items[1].url == "https://site.example/1"


def test_garbage_between_plain_records():
    data = page(0) + b"\0" * 100 + b"\r\n\r\n" + page(1)
    items = read(data)
    assert kinds(items) == ["0", "corrupt_record", "1"]
    assert_tiles(items, len(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x89PNG garbage" * 50, "not a WARC file"),
        (gzip.compress(b"just text " * 50, mtime=0), "no readable record"),
        (gzip.compress(b"x" * 999, mtime=0)[:-20], "no readable record"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 100, "zstd"),
        (b"WARC/1.0 but then nothing", "no readable record"),
    ],
)
def test_what_is_no_warc_is_refused_by_name(data, message):
    with pytest.raises(InputError, match=rf"test\.warc.*{message}"):
        read(data)


@pytest.mark.parametrize("size", [100, 5_000_000])
def test_one_gzip_member_for_all_records_is_refused_with_the_cure(size):
    data = gzip.compress(page(0, b"<html>" + b"x" * size) + page(1) + page(2))
    with pytest.raises(InputError, match=r"more than one record.*warcio recompress"):
        read(data, max_block_bytes=1000)


def test_several_records_in_a_later_member_are_refused():
    with pytest.raises(InputError, match="more than one record"):
        read(members(page(0), page(1) + page(2)))


def test_blocks_are_cut_in_bounded_memory(tmp_path):
    path = tmp_path / "large.warc.gz"
    path.write_bytes(members(page(0), page(1, b"<html>" + bytes(60_000_000)), page(2)))
    tracemalloc.start()
    with path.open("rb") as stream:
        items = [
            (item.url[-1], len(item.block), item.block_length)
            for item in read_archive(stream, "large", max_block_bytes=1_000_000)
            if isinstance(item, WarcRecord)
        ]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [number for number, _, _ in items] == ["0", "1", "2"]
    assert items[1][1] == 1_000_000
    assert items[1][2] > 60_000_000
    assert peak < 8_000_000


@settings(max_examples=150)
@given(data=st.data(), compress=st.booleans())
def test_whatever_is_damaged_the_file_is_covered_and_other_records_are_intact(data, compress):
    records = [page(number, b"<html>%d " % number + b"text " * number * 30) for number in range(5)]
    stored = [members(record) if compress else record for record in records]
    whole = b"".join(stored)
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans(), label="truncate"):
        damaged, damaged_end = whole[:at], len(whole)
    else:
        junk = data.draw(st.binary(min_size=1, max_size=12))
        damaged, damaged_end = whole[:at] + junk + whole[at + len(junk) :], at + len(junk)
    try:
        items = read(damaged)
    except InputError:
        assert at < len(stored[0])  # nothing but the first record can make a file unreadable
        return
    assert_tiles(items, len(damaged))
    starts = [sum(map(len, stored[:n])) for n in range(6)]
    before = {n for n in range(5) if starts[n + 1] <= at}
    behind = {n for n in range(5) if starts[n] >= damaged_end} if compress else set()
    found = {item.offset: item for item in items if isinstance(item, WarcRecord)}
    for n in before | behind:
        assert found[starts[n]].block == records[n].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n\r\n")
