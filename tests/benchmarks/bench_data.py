"""Extraction beside the peers that are installed here: one process, the pages of a small sample crawl."""

import importlib
import importlib.util
from pathlib import Path

import pytest

from ops.extract import extract_page
from ops.sample_crawl.config import SampleCrawlConfig
from ops.sample_crawl.run import run
from ops.stage import Execution
from ops.warc.archive import read_archive
from ops.warc.record import WarcRecord
from tests.benchmarks.timing import best_of, show


def _pages(tmp_path: Path) -> list[bytes]:
    config = SampleCrawlConfig(num_pages=200, files_per_crawl=1, num_eval_pages=0)
    run(config, {}, tmp_path, Execution(num_processes=2))
    pages = []
    for path in sorted(tmp_path.rglob("*.warc.gz")):
        with path.open("rb") as file:
            for record in read_archive(file, path.name, max_block_bytes=1 << 24):
                if isinstance(record, WarcRecord) and record.type == "response" and b"<html" in record.block:
                    pages.append(record.block.partition(b"\r\n\r\n")[2])
    return pages


def bench_extraction(tmp_path: Path) -> None:
    pages = _pages(tmp_path)
    contenders = {"stillhouse": lambda: [extract_page(page) for page in pages]}
    if importlib.util.find_spec("resiliparse"):
        extract_plain_text = importlib.import_module("resiliparse.extract.html2text").extract_plain_text
        contenders["resiliparse, main content"] = lambda: [
            extract_plain_text(page.decode("utf-8", "replace"), main_content=True) for page in pages
        ]
    if importlib.util.find_spec("trafilatura"):
        trafilatura = importlib.import_module("trafilatura")
        contenders["trafilatura"] = lambda: [trafilatura.extract(page) for page in pages]
    if len(contenders) == 1:
        pytest.skip("no peer is installed")
    size = sum(map(len, pages)) / len(pages)
    show(f"extraction of {len(pages)} pages of {size / 1e3:.0f} kB", best_of(contenders, 2), len(pages), "pages")
