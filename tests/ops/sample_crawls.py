"""A small sample crawl and plain ways to read it: members, headers, ranges, bodies."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecord
from selectolax.lexbor import LexborHTMLParser

from ops.sample_crawl.config import SampleCrawlConfig
from ops.sample_crawl.run import run
from ops.stage import Execution, StageResult

CONFIG = SampleCrawlConfig(
    num_pages=90,
    files_per_crawl=2,
    num_faults=3,
    num_eval_pages=2,
    items_per_eval_page=4,
    languages=("fr", "ja"),
    pages_per_language=1,
    exact_duplicate_share=0.1,
    edited_duplicate_share=0.1,
    mirror_share=0.05,
)


@dataclass(frozen=True)
class Sample:
    out: Path
    result: StageResult

    @property
    def expected(self) -> dict[str, list[dict[str, Any]]]:
        return json.loads((self.out / "expected.json").read_text())

    def rows(self) -> list[dict[str, Any]]:
        table = self.out / "cc-index" / "table" / "cc-main" / "warc"
        return pl.scan_parquet(table, hive_partitioning=True).collect().to_dicts()

    def row(self, crawl: str, url: str) -> dict[str, Any]:
        (found,) = [row for row in self.rows() if (row["crawl"], row["url"]) == (crawl, url)]
        return found

    def member(self, row: dict[str, Any]) -> bytes:
        """One record by ranged read, as it is done against Common Crawl."""
        with (self.out / row["warc_filename"]).open("rb") as stream:
            stream.seek(row["warc_record_offset"])
            return stream.read(row["warc_record_length"])

    def body(self, entry: dict[str, Any]) -> bytes:
        """HTTP body of a capture, by plain splitting: works for broken records too."""
        data = gzip.decompress(self.member(self.row(entry["crawl"], entry["url"])))
        assert data.endswith(b"\r\n\r\n")
        return data[:-4].split(b"\r\n\r\n", 2)[2]


def warc_files(out: Path) -> list[Path]:
    return sorted(out.glob("crawl-data/*/segments/0/warc/*.warc.gz"))


def members(path: Path) -> Iterator[bytes]:
    """The gzip members of a file, decompressed."""
    data = path.read_bytes()
    while data:
        decompressor = zlib.decompressobj(wbits=31)
        yield decompressor.decompress(data)
        assert decompressor.eof
        data = decompressor.unused_data


def parse(member: bytes) -> WarcRecord:
    return next(iter(ArchiveIterator(BytesIO(member), parse_http=False)))


def header(data: bytes, name: str) -> str | None:
    prefix = name.lower().encode() + b":"
    for line in data.split(b"\r\n\r\n", 1)[0].split(b"\r\n"):
        if line.lower().startswith(prefix):
            return line.split(b":", 1)[1].strip().decode()
    return None


def tree(root: Path) -> dict[str, str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main_words(page: bytes) -> list[str]:
    node = LexborHTMLParser(page).css_first("article, div.body")
    assert node is not None
    return node.text(separator=" ").split()


@cache
def _build(folder: Path) -> Sample:
    out = folder / "sample-crawl"
    out.mkdir()
    return Sample(out, run(CONFIG, {}, out, Execution(num_processes=1)))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Built once in a process, however many files ask for it."""
    return _build(tmp_path_factory.getbasetemp())
