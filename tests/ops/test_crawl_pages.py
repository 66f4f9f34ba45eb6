"""Pages of a bucket: what is kept, why the rest is not, by file and by range, from one go and from many."""

import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

import ops.crawl_manifest.run as manifest_run
import ops.crawl_pages.run as pages_run
from ops.crawl_manifest.config import CommonCrawl, CrawlManifestConfig, SampleSource, WarcFiles
from ops.crawl_manifest.rows import bucket_of
from ops.crawl_pages.config import CrawlPagesConfig
from ops.crawl_pages.pages import PageReader
from ops.errors import InputError
from ops.parts import part_paths
from ops.schema import DROPPED, PAGES, doc_id
from ops.stage import Execution, StageResult
from ops.warc.retry import FetchError, RetryPolicy
from ops.warc.source import Source
from tests.ops import crawl_servers
from tests.ops.crawl_servers import FORBIDDEN, SLOW_DOWN, BusyProxy, put_s3, serving
from tests.ops.crawl_warcs import HTML, http_block, members, page, raw_record, sha1, write_common_crawl, write_warc

moto_server, s3_endpoint = crawl_servers.moto_server, crawl_servers.s3_endpoint
REAL = Path(__file__).parents[3] / "shared" / "data" / "warc"
ROOT = Path(__file__).parents[2]
CRAWL = "CC-MAIN-2024-22"
LARGE = 50_000

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


def make_manifest(folder: Path, out: Path, num_buckets: int = 1) -> Path:
    """The manifest of the WARC files in a folder."""
    config = CrawlManifestConfig(crawl=CRAWL, source=WarcFiles(), num_buckets=num_buckets)
    manifest_run.run(config, {}, out, Execution(source=str(folder)))
    return out


def select(execution: Execution, out: Path, num_buckets: int = 1, rows_per_part: int = 5) -> Path:
    """The manifest of all of a copy of Common Crawl."""
    source = CommonCrawl(domains=("example",), rows_per_part=rows_per_part)
    manifest_run.run(CrawlManifestConfig(crawl=CRAWL, source=source, num_buckets=num_buckets), {}, out, execution)
    return out


def read_pages(
    manifest: Path, out: Path, execution: Execution, retry: RetryPolicy | None = None, **options
) -> StageResult:
    config = CrawlPagesConfig(**{"bucket": 0, "max_page_bytes": LARGE, **options})
    return pages_run.run(config, {"crawl_manifest": [manifest]}, out, execution, retry)


def crawl(tmp_path: Path, data: bytes, name: str = "a.warc.gz", **options) -> StageResult:
    """Read one WARC file into `tmp_path / "out"`."""
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    manifest = make_manifest(folder, tmp_path / "manifest")
    return read_pages(manifest, tmp_path / "out", Execution(source=str(folder)), **options)


def kept_rows(out: Path) -> list[dict]:
    return [row for path in part_paths(out) for row in pq.read_table(path).to_pylist()]


def dropped_rows(out: Path) -> list[dict]:
    return [row for path in part_paths(out / "dropped") for row in pq.read_table(path).to_pylist()]


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def failed(result: StageResult) -> list[str]:
    return [check.name for check in result.checks if check.blocking and not check.passed]


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


def test_the_columns_of_a_page(tmp_path):
    block = http_block(headers=(("Content-Type", 'Text/HTML; Charset="KOI8-R"'),))
    first = page(0)
    digest = sha1(HTML)
    record = raw_record("<https://site.example/q?x=1>", block, extra=(("WARC-Payload-Digest", digest),))
    crawl(tmp_path, members(first, record))
    row = kept_rows(tmp_path / "out")[1]
    offset = len(members(first))
    assert row == {
        "doc_id": doc_id(CRAWL, "a.warc.gz", offset),
        "crawl": CRAWL,
        "url": "https://site.example/q?x=1",
        "warc_filename": "a.warc.gz",
        "warc_record_offset": offset,
        "warc_record_length": len(members(record)),
        "fetch_time": "2024-05-18T01:58:10Z",
        "http_status": 200,
        "content_mime_type": "text/html",
        "content_charset": "KOI8-R",
        "content_digest": digest,
        "content_truncated": None,
        "content": HTML,
    }
    assert pq.read_schema(tmp_path / "out" / "part-00000.parquet").equals(PAGES)
    assert pq.read_schema(tmp_path / "out" / "dropped" / "part-00000.parquet").equals(DROPPED)


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


def test_many_wrong_digests_are_told_without_stopping_the_crawl(tmp_path):
    wrong = page(1, extra=(("WARC-Payload-Digest", sha1(b"x")),))
    result = crawl(tmp_path, members(page(0), wrong))
    (check,) = [check for check in result.checks if check.name == "payload_digests"]
    assert (check.passed, check.blocking, check.metadata["share"]) == (False, False, 0.5)


@pytest.mark.parametrize("path", sorted(REAL.glob("*.warc.gz")) or [None], ids=lambda path: path.name if path else "no")
def test_real_pages_as_warcio_decodes_them(tmp_path, path):
    if path is None:
        pytest.skip(f"no WARC files in {REAL}")
    expected = {}
    responses, accepted = 0, CrawlPagesConfig(bucket=0).accepted_mime_types
    with path.open("rb") as stream:
        iterator = ArchiveIterator(stream)
        for record in iterator:
            body = record.content_stream().read()
            if record.rec_type == "response":
                responses += 1
                kind = (record.http_headers.get_header("Content-Type") or "").partition(";")[0].lower()
                if record.http_headers.get_statuscode() == "200" and kind in accepted and body.strip():
                    expected[iterator.get_record_offset()] = body
    manifest = make_manifest(path, tmp_path / "manifest")
    result = read_pages(manifest, tmp_path / "out", Execution(source=str(path)), max_page_bytes=1 << 24)
    rows = kept_rows(tmp_path / "out")
    assert {row["warc_record_offset"]: row["content"] for row in rows} == expected
    assert result.counts["in"] == responses
    assert failed(result) == []
    assert result.dropped.get("payload_digest_mismatch", 0) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"garbage" * 20, "not a WARC file"),
        (gzip.compress(page(0) + page(1), mtime=0), "more than one record"),
        (gzip.compress(b"text", mtime=0), "no readable record"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, data, message):
    with pytest.raises(InputError, match=rf"a\.warc\.gz.*{message}"):
        crawl(tmp_path, data)


def test_a_corrupt_tail_does_not_cost_what_was_before_it(tmp_path):
    good = members(page(0), page(1))
    result = crawl(tmp_path, good + members(page(2))[:-30])
    assert [row["url"][-1] for row in kept_rows(tmp_path / "out")] == ["0", "1"]
    (row,) = dropped_rows(tmp_path / "out")
    assert row["reason"] == "corrupt_tail"
    assert str(len(good)) in row["detail"]
    assert row["doc_id"] == doc_id(CRAWL, "a.warc.gz", len(good))
    assert failed(result) == []


@pytest.mark.parametrize("change", ["gone", "longer", "other"])
def test_a_file_that_is_not_the_manifests_is_refused(tmp_path, change):
    path = tmp_path / "in" / "a.warc.gz"
    write_warc(path, {"https://site.example/1": HTML})
    manifest = make_manifest(path.parent, tmp_path / "manifest")
    data = path.read_bytes()
    path.unlink()
    if change != "gone":
        path.write_bytes(data + b"x" if change == "longer" else data[:-1] + b"x")
    with pytest.raises(InputError, match=r"a\.warc\.gz.*manifest"):
        read_pages(manifest, tmp_path / "out", Execution(source=str(path.parent)))


def test_an_empty_bucket_is_an_empty_artefact(tmp_path):
    path = tmp_path / "in" / "a.warc.gz"
    write_warc(path, {"https://site.example/1": HTML})
    manifest = make_manifest(path.parent, tmp_path / "manifest", num_buckets=2)
    empty = 1 - bucket_of("a.warc.gz", 2)
    result = read_pages(manifest, tmp_path / "out", Execution(source=str(path.parent)), bucket=empty)
    assert [path.name for path in part_paths(tmp_path / "out")] == ["part-00000.parquet"]
    assert kept_rows(tmp_path / "out") == dropped_rows(tmp_path / "out") == []
    assert (result.counts["in"], result.counts["out"], failed(result)) == (0, 0, [])


def test_the_sample_crawl_is_an_input(tmp_path):
    name = "crawl-data/S/segments/0/warc/x.warc.gz"
    write_warc(tmp_path / "sample" / name, {f"https://site.example/{n}": HTML for n in range(3)})
    data = (tmp_path / "sample" / name).read_bytes()
    file = {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / "sample" / "manifest.json").write_text(json.dumps({"crawls": {"S": {"warc_files": [file]}}}))
    inputs = {"sample_crawl": [tmp_path / "sample"]}
    config = CrawlManifestConfig(crawl="S", source=SampleSource(), num_buckets=1)
    manifest_run.run(config, inputs, tmp_path / "manifest", Execution())
    inputs["crawl_manifest"] = [tmp_path / "manifest"]
    result = pages_run.run(CrawlPagesConfig(bucket=0), inputs, tmp_path / "out", Execution())
    assert result.counts["out"] == 3
    assert kept_rows(tmp_path / "out")[0]["crawl"] == "S"


def captures(number: int) -> list[dict]:
    return [
        {
            "url": f"https://s{n}.example/",
            "surt": f"example,s{n})/",
            "domain": f"s{n}.example",
            "body": b"<html>" + b"page %d " % n * (n + 1),
        }
        for n in range(number)
    ]


def test_ranges_and_whole_files_give_the_same_pages(tmp_path):
    write_common_crawl(tmp_path / "cc", CRAWL, captures(23))
    execution = Execution(source=str(tmp_path / "cc"))
    whole = make_manifest(tmp_path / "cc", tmp_path / "whole")
    ranged = select(execution, tmp_path / "ranged")
    read_pages(whole, tmp_path / "by_file", execution)
    result = read_pages(ranged, tmp_path / "by_range", execution)
    assert len(part_paths(tmp_path / "by_range")) == 5
    by_file, by_range = (
        sorted(kept_rows(tmp_path / name), key=lambda row: (row["warc_filename"], row["warc_record_offset"]))
        for name in ("by_file", "by_range")
    )
    assert by_file == by_range
    assert len(by_file) == 23
    assert failed(result) == []


def test_what_a_range_can_turn_out_to_be(tmp_path):
    write_common_crawl(tmp_path / "cc", CRAWL, captures(8), files=1, index_files=1)
    execution = Execution(source=str(tmp_path / "cc"))
    manifest = select(execution, tmp_path / "manifest", rows_per_part=100)
    rows = pq.read_table(manifest / "manifest.parquet").to_pylist()
    size = (tmp_path / "cc" / rows[0]["warc_filename"]).stat().st_size
    rows[0]["warc_filename"] = "crawl-data/absent.warc.gz"
    rows[1]["warc_record_offset"] += 1
    rows[2]["warc_record_length"] += 40
    rows[3]["warc_record_offset"] = size - 10
    rows[4]["url"] = "https://elsewhere.example/"
    rows[5]["warc_record_offset"], rows[5]["warc_record_length"] = (
        0,
        first_length(tmp_path / "cc" / rows[5]["warc_filename"]),
    )
    rows[6]["warc_record_length"] -= 5
    for row in rows:
        row["bytes"] = row["warc_record_length"]
    pq.write_table(
        pq.read_table(manifest / "manifest.parquet").from_pylist(rows, schema=manifest_run.MANIFEST),
        manifest / "manifest.parquet",
    )
    result = read_pages(manifest, tmp_path / "out", execution)
    by_url = {row["url"]: row["reason"] for row in dropped_rows(tmp_path / "out")}
    assert [by_url.get(row["url"]) for row in rows] == [
        "not_found",
        "wrong_range",
        "wrong_range",
        "wrong_range",
        "wrong_url",
        "not_a_response",
        "corrupt_tail",
        None,
    ]
    assert [row["url"] for row in kept_rows(tmp_path / "out")] == [rows[7]["url"]]
    assert failed(result) == []


def first_length(path: Path) -> int:
    with path.open("rb") as stream:
        iterator = ArchiveIterator(stream)
        next(iterator)
        iterator.read_to_end()
        return iterator.get_record_length()


def test_ranged_reads_from_a_busy_s3_server(tmp_path, s3_endpoint):
    write_common_crawl(tmp_path / "cc", CRAWL, captures(12))
    execution = Execution(source=str(tmp_path / "cc"))
    manifest = select(execution, tmp_path / "manifest")
    read_pages(manifest, tmp_path / "local", execution)
    files = {
        p.relative_to(tmp_path / "cc").as_posix(): p.read_bytes() for p in (tmp_path / "cc").rglob("*") if p.is_file()
    }
    root = put_s3(s3_endpoint, files)
    proxy = BusyProxy(s3_endpoint, lambda method, path: [SLOW_DOWN, FORBIDDEN, SLOW_DOWN])
    retry = RetryPolicy(attempts=4, max_delay_s=0.0)
    with serving(proxy.handler()) as address:
        remote = Execution(source=root, endpoint_url=address)
        read_pages(manifest, tmp_path / "remote", remote, retry)
    assert proxy.refused == 3 * 12
    assert digests(tmp_path / "remote") == digests(tmp_path / "local")


def test_a_server_that_stays_busy_stops_the_stage_and_loses_nothing(tmp_path, s3_endpoint):
    write_common_crawl(tmp_path / "cc", CRAWL, captures(12))
    execution = Execution(source=str(tmp_path / "cc"))
    manifest = select(execution, tmp_path / "manifest", rows_per_part=3)
    read_pages(manifest, tmp_path / "local", execution)
    files = {
        p.relative_to(tmp_path / "cc").as_posix(): p.read_bytes() for p in (tmp_path / "cc").rglob("*") if p.is_file()
    }
    root = put_s3(s3_endpoint, files)
    retry = RetryPolicy(attempts=2, max_delay_s=0.0)
    down = BusyProxy(s3_endpoint, lambda method, path: [SLOW_DOWN] * 99 if path.endswith("00001.warc.gz") else [])
    with serving(down.handler()) as address, pytest.raises(FetchError, match=r"00001\.warc\.gz"):
        read_pages(manifest, tmp_path / "remote", Execution(source=root, endpoint_url=address), retry)
    done = [path.name for path in (tmp_path / "remote" / "marks").iterdir()]
    assert 0 < len(done) < 4
    read_pages(manifest, tmp_path / "remote", Execution(source=root, endpoint_url=s3_endpoint), retry)
    assert digests(tmp_path / "remote") == digests(tmp_path / "local")


def test_when_one_read_fails_the_others_do_not_wait_on():
    """Else this would hang for a day."""

    class Failing(Source):
        def read_range(self, name: str, offset: int, length: int) -> bytes:
            if name == "broken":
                waiting.wait()
                raise KeyError("a bug")
            return self.retry.call(busy, name)

    def busy() -> bytes:
        waiting.set()
        raise ConnectionResetError

    waiting = threading.Event()
    rows = [
        {"warc_filename": name, "warc_record_offset": 0, "warc_record_length": 1} for name in ("broken", "a", "b", "c")
    ]
    source = Failing(root="/", retry=RetryPolicy(first_delay_s=86_400.0, max_delay_s=86_400.0))
    with pytest.raises(KeyError, match="a bug"):
        list(pages_run.fetch_in_order(source, rows))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """Two manifests, `files` and `ranges`, of the same crawl, and the pages of both."""
    root = tmp_path_factory.mktemp("undisturbed")
    write_common_crawl(root / "cc", CRAWL, captures(20), files=4)
    with next((root / "cc").rglob("*-00002.warc.gz")).open("ab") as stream:
        stream.write(b"a tail of garbage")
    execution = Execution(source=str(root / "cc"))
    make_manifest(root / "cc", root / "files")
    select(execution, root / "ranges")
    for kind in ("files", "ranges"):
        read_pages(root / kind, root / f"pages_of_{kind}", execution)
    return root


class Killed(BaseException):
    pass


@settings(max_examples=20)
@given(moments=st.lists(st.integers(1, 90), max_size=4), kind=st.sampled_from(["files", "ranges"]))
def test_stopped_anywhere_and_taken_up_again_the_bytes_are_the_same(undisturbed, tmp_path_factory, moments, kind):
    out = tmp_path_factory.mktemp("resumed")
    execution = Execution(source=str(undisturbed / "cc"))
    add = PageReader.add
    for moment in moments:
        left = [moment]

        def dies(self, item, batch, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            add(self, item, batch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PageReader, "add", dies)
            try:
                read_pages(undisturbed / kind, out, execution)
            except Killed:
                assert left[0] == 0
    read_pages(undisturbed / kind, out, execution)
    assert digests(out) == digests(undisturbed / f"pages_of_{kind}")


DIES = """
import os, signal, sys
from pathlib import Path
from ops.crawl_pages.config import CrawlPagesConfig
from ops.crawl_pages.pages import PageReader
from ops.crawl_pages.run import run
from ops.stage import Execution

manifest, out, source, left = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
add = PageReader.add

def dies(self, item, batch):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, item, batch)

PageReader.add = dies
run(CrawlPagesConfig(bucket=0, max_page_bytes=50_000), {"crawl_manifest": [manifest]}, out, Execution(source=source))
"""


def test_killed_processes_leave_nothing_that_shows(undisturbed, tmp_path):
    out = tmp_path / "out"
    for moment in (3, 25):
        command = [
            sys.executable,
            "-c",
            DIES,
            str(undisturbed / "files"),
            str(out),
            str(undisturbed / "cc"),
            str(moment),
        ]
        result = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
        assert result.returncode == -signal.SIGKILL
    for path in out.rglob(".*.tmp"):  # what the store sweeps away before a stage goes on
        path.unlink()
    read_pages(undisturbed / "files", out, Execution(source=str(undisturbed / "cc")))
    assert digests(out) == digests(undisturbed / "pages_of_files")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"bucket": -1}, "bucket"),
        ({"bucket": 0, "max_page_bytes": 0}, "max_page_bytes"),
        ({"bucket": 0, "accepted_mime_types": ()}, "accepted_mime_types"),
        ({"bucket": 0, "accepted_mime_types": ("text/HTML",)}, "accepted_mime_types"),
    ],
)
def test_settings_that_cannot_be_are_named(options, field):
    with pytest.raises(InputError, match=field):
        CrawlPagesConfig(**options)
