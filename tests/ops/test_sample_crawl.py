"""The sample crawl as its readers see it: two WARC libraries, the indexes; the same bytes however it was built."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastwarc.warc import ArchiveIterator
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

from ops.sample_crawl import run as sample_run
from ops.sample_crawl.config import SampleCrawlConfig
from ops.sample_crawl.content import Rendered
from ops.sample_crawl.run import observe, render_pages, run
from ops.sample_crawl.sources import PageSource
from ops.stage import Execution
from ops.warc.surt import surt_key
from tests.ops import sample_crawls
from tests.ops.sample_crawls import CONFIG, Sample, header, members, parse, tree, warc_files

sample = sample_crawls.sample
# Names and order of Common Crawl's columnar index (cc-index-table, cc-index-schema-flat.json), partitions left out.
COMMON_CRAWL_COLUMNS = """
    url_surtkey url url_host_name url_host_tld url_host_2nd_last_part url_host_3rd_last_part url_host_4th_last_part
    url_host_5th_last_part url_host_registry_suffix url_host_registered_domain url_host_private_suffix
    url_host_private_domain url_host_name_reversed url_protocol url_port url_path url_query fetch_time fetch_status
    fetch_redirect content_digest content_mime_type content_mime_detected content_charset content_languages
    content_truncated warc_record_id warc_filename warc_record_offset warc_record_length warc_segment
""".split()  # noqa: SIM905


def test_every_record_is_a_gzip_member_with_right_digests(sample: Sample) -> None:
    damaged = {entry["url"] for entry in sample.expected["digest_mismatch"]}
    wrong = {entry["url"] for entry in sample.expected["wrong_length"]}
    types: list[str] = []
    ids: list[str] = []
    for path in warc_files(sample.out):
        for number, member in enumerate(members(path)):
            record = parse(member)
            kind = record.headers["WARC-Type"]
            types.append(kind)
            ids.append(record.headers["WARC-Record-ID"])
            assert (kind == "warcinfo") == (number == 0)
            url = header(member, "WARC-Target-URI")
            if kind == "response" and url in wrong:
                continue
            assert int(record.headers["Content-Length"]) == len(member) - member.index(b"\r\n\r\n") - 8
            if "WARC-Block-Digest" in record.headers:
                assert record.verify_block_digest() == (kind != "response" or url not in damaged)
            if kind == "response":
                reread = parse(member)
                reread.parse_http()
                assert reread.verify_payload_digest() == (url not in damaged)
    captures = sample.result.counts["captures"]
    assert types.count("response") + types.count("revisit") == captures
    assert types.count("request") == types.count("metadata") == captures
    assert len(types) == sample.result.counts["records"]
    assert len(set(ids)) == len(ids)


def test_warcio_reads_whole_files_up_to_the_records_with_wrong_lengths(tmp_path: Path) -> None:
    config = SampleCrawlConfig(
        num_pages=40, files_per_crawl=1, num_faults=0, num_eval_pages=0, languages=(), math_packages=("mpmath",)
    )
    result = run(config, {}, tmp_path, Execution())
    num_records = 0
    mode: Any = "raise"
    for path in warc_files(tmp_path):
        with path.open("rb") as stream:
            for record in WarcioIterator(stream, check_digests=mode):
                record.content_stream().read()
                num_records += 1
    assert num_records == result.counts["records"]


def test_columnar_index_points_at_records(sample: Sample) -> None:
    rows = sample.rows()
    num_revisits = len(sample.expected["revisit"])
    assert len(rows) == sample.result.counts["captures"] - num_revisits
    wrong = {entry["url"] for entry in sample.expected["wrong_length"]}
    for row in rows:
        member = sample.member(row)
        data = gzip.decompress(member)
        assert header(data, "WARC-Type") == "response"
        assert header(data, "WARC-Target-URI") == row["url"]
        assert header(data, "WARC-Payload-Digest") == f"sha1:{row['content_digest']}"
        assert header(data, "WARC-Date") == row["fetch_time"].strftime("%Y-%m-%dT%H:%M:%SZ")
        assert header(data, "WARC-Truncated") == row["content_truncated"]
        if row["url"] not in wrong:
            (record,) = ArchiveIterator(BytesIO(member))
            assert record.http_headers is not None
            assert record.http_headers.status_code == row["fetch_status"]
        assert (row["subset"] == "warc") == (row["fetch_status"] == 200)
        assert row["fetch_time"].isocalendar()[:2] == tuple(map(int, row["crawl"].split("-")[1:]))


def test_columnar_index_has_common_crawls_columns_and_folders(sample: Sample) -> None:
    for crawl in CONFIG.crawls:
        folder = sample.out / "cc-index" / "table" / "cc-main" / "warc" / f"crawl={crawl}"
        for subset in ("warc", "crawldiagnostics"):
            table = pl.read_parquet(folder / f"subset={subset}" / "part-00000.parquet", hive_partitioning=False)
            assert table.columns == COMMON_CRAWL_COLUMNS
            assert table["url_surtkey"].is_sorted()
            assert table.height > 0


def test_cdxj_has_every_capture(sample: Sample) -> None:
    rows = {(row["crawl"], row["url"]): row for row in sample.rows()}
    num_lines = 0
    for crawl in CONFIG.crawls:
        text = gzip.decompress(
            (sample.out / f"cc-index/collections/{crawl}/indexes/cdx-00000.gz").read_bytes()
        ).decode()
        lines = text.splitlines()
        assert lines == sorted(lines, key=lambda line: line.split(" ")[:2])
        for line in lines:
            key, time, values = line.split(" ", 2)
            entry = json.loads(values)
            assert key == surt_key(entry["url"])
            num_lines += 1
            if entry["mime"] == "warc/revisit":
                assert (crawl, entry["url"]) not in rows
                continue
            row = rows[crawl, entry["url"]]
            assert time == row["fetch_time"].strftime("%Y%m%d%H%M%S")
            assert int(entry["offset"]) == row["warc_record_offset"]
            assert int(entry["length"]) == row["warc_record_length"]
            assert entry["filename"] == row["warc_filename"]
    assert num_lines == sample.result.counts["captures"]


def test_manifest_describes_the_files(sample: Sample) -> None:
    manifest = json.loads((sample.out / "manifest.json").read_text())
    assert manifest["package_versions"] == observe(CONFIG, Execution())
    listed = {}
    for crawl in CONFIG.crawls:
        files = manifest["crawls"][crawl]["warc_files"]
        paths = gzip.decompress((sample.out / "crawl-data" / crawl / "warc.paths.gz").read_bytes()).decode().split()
        assert paths == [file["path"] for file in files]
        for file in files:
            assert sum(1 for _ in members(sample.out / file["path"])) == file["records"]
            assert file["licenses"]
            assert set(file["licenses"]) <= set(manifest["licenses"])
            listed[file["path"]] = (file["bytes"], file["sha256"])
    actual = {
        path.relative_to(sample.out).as_posix(): (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in warc_files(sample.out)
    }
    assert listed == actual


def test_other_processes_and_a_killed_build_give_the_same_bytes(sample: Sample, tmp_path: Path) -> None:
    reference = tree(sample.out)
    again = tmp_path / "again"
    again.mkdir()
    run(CONFIG, {}, again, Execution(num_processes=2))
    assert tree(again) == reference

    killed = tmp_path / "killed"
    shutil.copytree(sample.out, killed)
    first, second, third, _ = warc_files(killed)
    first.unlink()  # never written
    second.write_bytes(second.read_bytes()[:1000])  # cut
    marks = sorted((killed / "marks").iterdir())
    marks[2].unlink()  # written, not marked
    (killed / "manifest.json").unlink()
    (killed / "expected.json").unlink()
    untouched = warc_files(killed)[-1]
    before = untouched.stat().st_mtime_ns
    result = run(CONFIG, {}, killed, Execution())
    assert tree(killed) == reference
    assert result == sample.result
    assert untouched.stat().st_mtime_ns == before
    assert third.exists()


def test_a_kill_loses_only_the_portion_being_rendered(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    limit = 20

    def render(config: SampleCrawlConfig, sources: Sequence[PageSource]) -> list[Rendered]:
        if len(rendered) == limit:
            raise KeyboardInterrupt
        rendered.extend(source.key for source in sources)
        return render_pages(config, sources)

    monkeypatch.setattr(sample_run, "PAGES_PER_TASK", 5)
    monkeypatch.setattr(sample_run, "render_pages", render)
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, {}, tmp_path, Execution())
    before = set(rendered)
    assert len(before) == limit
    rendered.clear()
    limit = -1
    run(CONFIG, {}, tmp_path, Execution())
    assert rendered
    assert before.isdisjoint(rendered)
    assert tree(tmp_path) == tree(sample.out)
