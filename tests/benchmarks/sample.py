"""Pages that the benchmarks share."""

from pathlib import Path

from ops.sample_crawl.config import SampleCrawlConfig
from ops.sample_crawl.run import run
from ops.stage import Execution
from ops.warc.archive import read_archive
from ops.warc.record import WarcRecord


def sample_pages(folder: Path) -> list[bytes]:
    """The pages of a sample crawl, as HTTP responses."""
    run(SampleCrawlConfig(num_pages=200, files_per_crawl=1, num_eval_pages=0), {}, folder, Execution(num_processes=2))
    pages: list[bytes] = []
    for path in sorted(folder.rglob("*.warc.gz")):
        with path.open("rb") as file:
            for record in read_archive(file, path.name, max_block_bytes=1 << 24):
                if isinstance(record, WarcRecord) and record.type == "response" and b"<html" in record.block:
                    pages.append(record.block.partition(b"\r\n\r\n")[2])
    return pages
