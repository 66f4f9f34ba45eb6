"""Every kind of response: kept as it is, or dropped for its reason."""

import gzip
import hashlib
import random

import pytest

from tests.ops.crawl_stages import (
    LARGE,
    crawl,
    dropped_rows,
    failed,
    kept_rows,
)
from tests.ops.crawl_warcs import HTML, http_block, members, page, raw_record, sha1

HTML_HEADER = ("Content-Type", "text/html; charset=ISO-8859-5")


def coded(coding: str, body: bytes) -> bytes:
    return http_block(body, headers=(HTML_HEADER, ("Content-Encoding", coding)))


def as_record(number: int, block: bytes, **options) -> bytes:
    return raw_record(f"https://site.example/{number}", block, **options)


def extra(name: str, value: str) -> dict:
    return {"extra": ((name, value),)}


ZIPPED = gzip.compress(HTML, mtime=0)
NOTEBOOK = b' {"cells": [{"cell_type": "markdown", "source": ["$x$"]}], "nbformat": 4}'
LONG = b"<html>" + b"x" * LARGE


KEPT = {
    "plain": (http_block(headers=(HTML_HEADER,)), {}, HTML),
    "right digest": (http_block(), extra("WARC-Payload-Digest", sha1(HTML)), HTML),
    "digest of another algorithm": (
        http_block(),
        extra("WARC-Payload-Digest", "sha256:" + hashlib.sha256(HTML).hexdigest()),
        HTML,
    ),
    "unreadable digest": (http_block(), extra("WARC-Payload-Digest", "crc32:00000000"), HTML),
    "gzip": (coded("gzip", ZIPPED), extra("WARC-Payload-Digest", sha1(ZIPPED)), HTML),
    "stale gzip": (coded("gzip", HTML), {}, HTML),
    "chunked, digest with chunk lines": (
        http_block(b"4\r\n<htm\r\n2\r\nl>\r\n0\r\n\r\n", headers=(HTML_HEADER, ("Transfer-Encoding", "chunked"))),
        extra("WARC-Payload-Digest", sha1(b"4\r\n<htm\r\n2\r\nl>\r\n0\r\n\r\n")),
        b"<html>",
    ),
    "chunked, digest without chunk lines": (
        http_block(b"4\r\n<htm\r\n2\r\nl>\r\n0\r\n\r\n", headers=(HTML_HEADER, ("Transfer-Encoding", "chunked"))),
        extra("WARC-Payload-Digest", sha1(b"<html>")),
        b"<html>",
    ),
    "no type but html": (http_block(b"\xef\xbb\xbf <!-- hi -->\n<!DOCTYPE html><p>", headers=()), {}, None),
    "xhtml": (http_block(headers=(("Content-Type", "Application/XHTML+XML ; q=1"),)), {}, HTML),
    "plain text": (http_block(b"words", headers=(("Content-Type", "text/plain"),)), {}, b"words"),
    "notebook as json": (http_block(NOTEBOOK, headers=(("Content-Type", "application/json"),)), {}, NOTEBOOK),
    "as long as it may be": (http_block(LONG[:LARGE]), {}, LONG[:LARGE]),
    "type of block not said": (http_block(), {"content_type": ""}, HTML),
}


DROPPED_FOR = {
    "moved": ("redirect", http_block(b"", status="301 Moved", headers=(("Location", "/new"),)), {}),
    "not modified": ("redirect", http_block(b"", status="304 Not Modified"), {}),
    "gone": ("http_status", http_block(status="404 Not Found"), {}),
    "partial": ("http_status", http_block(status="206 Partial"), {}),
    "image": ("mime_type", http_block(b"GIF89a", headers=(("Content-Type", "image/gif"),)), {}),
    "no type, no html": ("mime_type", http_block(b"plain words", headers=()), {}),
    "json": ("mime_type", http_block(b'{"nbformat": 4}', headers=(("Content-Type", "application/json"),)), {}),
    "cut": ("truncated", http_block(), extra("WARC-Truncated", "length")),
    "digest": ("payload_digest_mismatch", http_block(), extra("WARC-Payload-Digest", sha1(b"other"))),
    "empty": ("empty_body", http_block(b""), {}),
    "blank": ("empty_body", http_block(b" \r\n\t"), {}),
    "empty gzip": ("empty_body", coded("gzip", gzip.compress(b"", mtime=0)), {}),
    "long": ("too_large", http_block(LONG), {}),
    "far too long": ("too_large", http_block(b"<html>" + b"x" * 300_000), {}),
    "bomb": ("too_large", coded("gzip", gzip.compress(LONG * 3, mtime=0)), {}),
    "unknown coding": ("content_encoding", coded("sdch", b"\x01\x02\x03"), {}),
    "broken gzip": ("content_encoding", coded("gzip", gzip.compress(LONG, mtime=0)[:-12]), {}),
    "no http": ("bad_http", b"<html>no header", {}),
    "chunks end early": (
        "bad_http",
        http_block(b"ff\r\n<html>", headers=(HTML_HEADER, ("Transfer-Encoding", "chunked"))),
        {},
    ),
    "dns": ("not_http", b"20240101 1.2.3.4", {"content_type": "text/dns"}),
    "revisit": ("revisit", http_block(b""), {"record_type": "revisit"}),
    "no type of record": ("bad_warc_header", http_block(), {"record_type": None}),
    "wrong length": ("wrong_length", http_block(), {"content_length": "17"}),
    "no length": ("bad_warc_header", http_block(), {"content_length": ""}),
}


JOINS = {"a.warc.gz": members, "a.warc": lambda *records: b"".join(records)}


@pytest.mark.parametrize("name", JOINS)
def test_every_kind_of_response_is_kept_or_dropped_for_its_reason(tmp_path, name):
    records = [as_record(n, block, **options) for n, (block, options, _) in enumerate(KEPT.values())]
    records += [as_record(100 + n, block, **options) for n, (_, block, options) in enumerate(DROPPED_FOR.values())]
    others = [
        raw_record(None, b"software: x", record_type="warcinfo", content_type="application/warc-fields"),
        raw_record("https://site.example/0", b"GET / HTTP/1.1\r\n\r\n", record_type="request"),
        raw_record("https://site.example/0", b"x: y", record_type="metadata"),
        raw_record("https://site.example/0", b"x", record_type="made-up"),
    ]
    random.Random(0).shuffle(records)
    result = crawl(tmp_path, JOINS[name](*others, *records), name)
    kept = {row["url"].rpartition("/")[2]: row for row in kept_rows(tmp_path / "out")}
    reasons = {row["url"].rpartition("/")[2]: row["reason"] for row in dropped_rows(tmp_path / "out")}
    assert set(kept) == {str(n) for n in range(len(KEPT))}
    for n, (_, _, body) in enumerate(KEPT.values()):
        assert body is None or kept[str(n)]["content"] == body
    assert reasons == {str(100 + n): reason for n, (reason, _, _) in enumerate(DROPPED_FOR.values())}
    assert result.counts["in"] == len(KEPT) + len(DROPPED_FOR)
    assert {k: v for k, v in result.counts.items() if k.startswith("records_")} == {
        "records_made-up": 1,
        "records_metadata": 1,
        "records_request": 1,
        "records_warcinfo": 1,
    }
    assert result.counts["stale_codings"] == 1
    assert result.counts["digests_unreadable"] == 1
    assert failed(result) == []


def test_truncated_pages_are_kept_on_demand_with_what_there_is_of_them(tmp_path):
    cut = gzip.compress(b"<html>" + random.Random(0).randbytes(5000), mtime=0)[:3000]
    mark = (("WARC-Truncated", "length"),)
    data = members(page(0, extra=mark), as_record(1, coded("gzip", cut), extra=mark), page(2))
    result = crawl(tmp_path, data, keep_truncated=True)
    rows = kept_rows(tmp_path / "out")
    assert [row["content_truncated"] for row in rows] == ["length", "length", None]
    assert rows[1]["content"].startswith(b"<html>")
    assert 2000 < len(rows[1]["content"]) < 5006
    assert failed(result) == []
