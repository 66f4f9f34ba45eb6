"""Make the manifest of a crawl."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.atomic import read_json, write_json
from ops.crawl_manifest.columnar import index_files, look_up, open_source, read_url_list
from ops.crawl_manifest.config import CommonCrawl, CrawlManifestConfig, SampleSource, WarcFiles
from ops.crawl_manifest.rows import MANIFEST, Row, number_whole_files
from ops.crawl_manifest.selection import Found, Wanted, sort_out, wanted_urls, write_evidence, write_ranged
from ops.errors import InputError
from ops.parts import parquet_writer, write_rows
from ops.progress import track
from ops.stage import Check, Execution, Inputs, StageResult, one, reconcile
from ops.warc.source import Source


def observe(config: CrawlManifestConfig, execution: Execution) -> Any:
    """What lies at `execution.source`: name, size and version (ETag or time of last change) of every file.

    Common Crawl's own web server is not asked: what it has of a crawl does not change.
    """
    match config.source:
        case SampleSource():
            return None
        case WarcFiles():
            return [[info.name, info.size, info.version] for info in _warc_source(execution).warc_files()]
        case CommonCrawl():
            source = open_source(execution.source, execution.endpoint_url)
            if source.protocol in ("http", "https"):
                return config.crawl
            return [[file.name, file.size, file.version] for file in index_files(source, config.crawl)]


def run(config: CrawlManifestConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `manifest.parquet` (rows: see `ops.crawl_manifest.rows.MANIFEST`) and `manifest.json` (totals).

    A selection from Common Crawl also gives `missing.parquet` and `domains.parquet`.

    Raises:
        InputError: when the source is missing, empty or not what the config says.
        FetchError: when a server does not answer.
    """
    match config.source:
        case SampleSource():
            return _whole_files(config, out, "sample", _sample_rows(one(inputs, "sample_crawl"), config.crawl))
        case WarcFiles():
            return _whole_files(config, out, "warc_files", _local_rows(_warc_source(execution)))
        case CommonCrawl() as selection:
            return _selected(config, selection, inputs, out, open_source(execution.source, execution.endpoint_url))


def _warc_source(execution: Execution) -> Source:
    if execution.source is None:
        raise InputError("source: WarcFiles reads what execution.source names, and it is not set")
    return Source(root=execution.source, endpoint_url=execution.endpoint_url)


def _sample_rows(directory: Path, crawl: str) -> Iterator[Row]:
    manifest = read_json(directory / "manifest.json")
    if crawl not in manifest["crawls"]:
        raise InputError(f"crawl: {crawl!r} is not in the sample crawl, which has {sorted(manifest['crawls'])}")
    for file in manifest["crawls"][crawl]["warc_files"]:
        yield _whole_row(file["path"], file["bytes"], sha256=file["sha256"])


def _local_rows(source: Source) -> Iterator[Row]:
    for info in track(source.warc_files(), description="WARC files", unit="file"):
        if info.size == 0:
            raise InputError(f"{source.address(info.name)}: the file is empty")
        if source.is_remote:
            yield _whole_row(info.name, info.size, version=info.version)
            continue
        with open(source.address(info.name), "rb") as file:
            yield _whole_row(info.name, info.size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _whole_row(name: str, size: int, sha256: str | None = None, version: str | None = None) -> Row:
    nothing: Row = {"warc_record_offset": None, "warc_record_length": None, "url": None}
    return {"warc_filename": name, **nothing, "bytes": size, "sha256": sha256, "version": version}


def _whole_files(config: CrawlManifestConfig, out: Path, kind: str, rows: Iterator[Row]) -> StageResult:
    numbered = list(number_whole_files(rows, config.num_buckets))
    write_rows(out / "manifest.parquet", numbered, MANIFEST)
    by_bucket = [sum(row["bucket"] == bucket for row in numbered) for bucket in range(config.num_buckets)]
    size = sum(row["bytes"] for row in numbered)
    _write_totals(config, out, kind, by_bucket, {"bytes": size})
    return StageResult(
        counts={"files": len(numbered), "bytes": size, "buckets_in_use": sum(map(bool, by_bucket))},
        checks=[_not_empty(len(numbered))],
        summary={"rows_by_bucket": by_bucket, "files": [row["warc_filename"] for row in numbered[:20]]},
    )


def _selected(
    config: CrawlManifestConfig, selection: CommonCrawl, inputs: Inputs, out: Path, source: Source
) -> StageResult:
    urls = list(selection.urls)
    if selection.url_list_sha256 is not None:
        urls += read_url_list(one(inputs, "url_list") / "urls.txt", selection.url_list_sha256)
    wanted = wanted_urls(urls)
    files = index_files(source, config.crawl)
    scratch = out / "lookup"
    looked_up = look_up(source, files, selection, list(wanted.urls_by_key), scratch)
    found = sort_out(looked_up, selection, wanted)
    with parquet_writer(out / "manifest.parquet", MANIFEST) as writer:
        by_bucket = write_ranged(found, selection, config.num_buckets, writer)
    write_evidence(out, found)
    _write_totals(config, out, "common_crawl", by_bucket, {"excluded": found.excluded})
    shutil.rmtree(scratch)
    return _selection_result(selection, wanted, found, len(files), by_bucket)


def _selection_result(
    selection: CommonCrawl, wanted: Wanted, found: Found, num_index_files: int, by_bucket: list[int]
) -> StageResult:
    counts = {
        "in": found.num_matched,
        "out": sum(by_bucket),
        "index_files": num_index_files,
        "urls_wanted": wanted.num_urls,
        "urls_missing": sum(row["kind"] == "url" for row in found.missing),
        "domains_wanted": len(selection.domains),
        "domains_missing": sum(row["kind"] == "domain" for row in found.missing),
    }
    asked = counts["urls_wanted"] + counts["domains_wanted"]
    return StageResult(
        counts=counts,
        dropped=found.excluded,
        checks=[
            _not_empty(counts["out"]),
            reconcile(counts, found.excluded),
            Check(
                name="everything_found",
                passed=not found.missing,
                description="every address and domain that was asked for is in the index",
                metadata={"missing": len(found.missing), "asked_for": asked, "first": found.missing[:10]},
                blocking=False,
            ),
        ],
        summary={"rows_by_bucket": by_bucket, "largest_domains": found.rows_by_domain.head(20).rows()},
    )


def _write_totals(
    config: CrawlManifestConfig, out: Path, kind: str, by_bucket: list[int], more: dict[str, Any]
) -> None:
    totals = {
        "crawl": config.crawl,
        "source": kind,
        "num_buckets": config.num_buckets,
        "rows": sum(by_bucket),
        "buckets": [{"rows": rows} for rows in by_bucket],
    }
    write_json(out / "manifest.json", {**totals, **more})


def _not_empty(rows: int) -> Check:
    description = "the crawl has at least one file or record"
    return Check(name="not_empty", passed=rows > 0, description=description, metadata={"rows": rows})
