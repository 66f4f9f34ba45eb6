"""Records read by range: the same pages as from whole files, whatever a range holds, from servers that are busy."""

import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from warcio.archiveiterator import ArchiveIterator

import ops.crawl_manifest.run as manifest_run
import ops.crawl_pages.run as pages_run
from ops.parts import part_paths
from ops.stage import Execution
from ops.warc.retry import FetchError, RetryPolicy
from ops.warc.source import Source
from tests.ops import crawl_servers
from tests.ops.crawl_servers import FORBIDDEN, SLOW_DOWN, BusyProxy, put_s3_folder, serving
from tests.ops.crawl_stages import (
    CRAWL,
    captures,
    digests,
    dropped_rows,
    failed,
    kept_rows,
    make_manifest,
    read_pages,
    select,
)
from tests.ops.crawl_warcs import write_common_crawl

moto_server, s3_endpoint = crawl_servers.moto_server, crawl_servers.s3_endpoint


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
    root = put_s3_folder(s3_endpoint, tmp_path / "cc")
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
    root = put_s3_folder(s3_endpoint, tmp_path / "cc")
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
