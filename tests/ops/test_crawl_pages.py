"""Pages of a bucket: their columns and bodies, files that are not as the manifest says, empty buckets."""

import gzip
import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from warcio.archiveiterator import ArchiveIterator

import ops.crawl_manifest.run as manifest_run
import ops.crawl_pages.run as pages_run
from ops.crawl_manifest.config import CrawlManifestConfig, SampleSource
from ops.crawl_manifest.rows import bucket_of
from ops.crawl_pages.config import CrawlPagesConfig
from ops.errors import InputError
from ops.parts import part_paths
from ops.schema import DROPPED, PAGES, doc_id
from ops.stage import Execution
from tests.ops.crawl_stages import (
    CRAWL,
    crawl,
    dropped_rows,
    failed,
    kept_rows,
    make_manifest,
    read_pages,
)
from tests.ops.crawl_warcs import HTML, http_block, members, page, raw_record, sha1, write_warc

REAL = Path(__file__).parents[3] / "shared" / "data" / "warc"


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
