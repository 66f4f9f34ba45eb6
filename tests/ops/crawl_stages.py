"""The crawl stages over small inputs, and what they leave."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq

import ops.crawl_manifest.run as manifest_run
import ops.crawl_pages.run as pages_run
from ops.crawl_manifest.config import CommonCrawl, CrawlManifestConfig, SampleSource, WarcFiles
from ops.crawl_pages.config import CrawlPagesConfig
from ops.parts import part_paths
from ops.stage import Execution, StageResult
from ops.warc.retry import RetryPolicy

CRAWL = "CC-MAIN-2024-22"
LARGE = 50_000
"""Bytes of the longest page that is kept."""


def manifest_config(source: SampleSource | WarcFiles | CommonCrawl, num_buckets: int = 4) -> CrawlManifestConfig:
    return CrawlManifestConfig(crawl=CRAWL, source=source, num_buckets=num_buckets)


def make_manifest(folder: Path, out: Path, num_buckets: int = 1) -> Path:
    """The manifest of the WARC files in a folder."""
    manifest_run.run(manifest_config(WarcFiles(), num_buckets), {}, out, Execution(source=str(folder)))
    return out


def select(execution: Execution, out: Path, num_buckets: int = 1, rows_per_part: int = 5) -> Path:
    """The manifest of all of a copy of Common Crawl."""
    source = CommonCrawl(domains=("example",), rows_per_part=rows_per_part)
    manifest_run.run(manifest_config(source, num_buckets), {}, out, execution)
    return out


def manifest_rows(out: Path) -> list[dict]:
    return pq.read_table(out / "manifest.parquet").to_pylist()


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
