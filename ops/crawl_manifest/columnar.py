"""Common Crawl's columnar index: one lazy scan a file, with the selection pushed down to the row groups.

Layout and columns: https://github.com/commoncrawl/cc-index-table. Files are sorted by `url_surtkey`, so statistics of
the row groups tell where a page can be, and only those are read, of 8 of some 30 columns.
"""

import functools
import gzip
import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ops.crawl_manifest.config import PUBLIC_ROOT, CommonCrawl
from ops.errors import InputError
from ops.parts import parquet_writer
from ops.progress import track
from ops.warc.source import Source, has_aws_credentials
from ops.warc.surt import surt_range

COLUMNS = {
    "url_surtkey": pl.String,
    "url": pl.String,
    "url_host_registered_domain": pl.String,
    "fetch_status": pl.Int32,
    "content_mime_type": pl.String,
    "warc_filename": pl.String,
    "warc_record_offset": pl.Int64,
    "warc_record_length": pl.Int64,
}
KEY_GROUPS = 8
"""The wanted keys are split into so many runs of neighbours, each with a least and a greatest key to prune by. More
runs prune better and cost more planning (64 runs: 6 s a file of 100 row groups; 8 runs: 0.02 s)."""


@dataclass(frozen=True, kw_only=True)
class IndexFile:
    """A file of the columnar index. `size` and `version` are None on a web server, which lists none."""

    name: str
    size: int | None = None
    version: str | None = None


def index_files(source: Source, crawl: str) -> list[IndexFile]:
    """The index files of a crawl (`subset=warc`), sorted by name.

    A web server cannot be listed: there the crawl's `cc-index-table.paths.gz` names them.

    Raises:
        InputError: when the crawl has none there.
    """
    folder = f"cc-index/table/cc-main/warc/crawl={crawl}/subset=warc"
    where = source.address(folder)
    if source.protocol in ("http", "https"):
        paths = source.address(f"crawl-data/{crawl}/cc-index-table.paths.gz")
        try:
            data = source.retry.call(lambda: source.filesystem().cat_file(paths), paths)
        except FileNotFoundError:
            raise InputError(f"{paths}: not there: no such crawl?") from None
        names = [line for line in gzip.decompress(data).decode().split() if line.startswith(folder)]
        found = [IndexFile(name=name) for name in names]
    elif source.protocol == "s3":
        filesystem = source.filesystem()
        listing = source.retry.call(lambda: filesystem.find(where, detail=True), where)
        root = filesystem._strip_protocol(source.root.rstrip("/")) + "/"
        found = [
            IndexFile(name=path.removeprefix(root), size=details["size"], version=details["ETag"].strip('"'))
            for path, details in listing.items()
            if path.endswith(".parquet")
        ]
    else:
        found = [
            IndexFile(name=f"{folder}/{path.name}", size=path.stat().st_size, version=str(path.stat().st_mtime_ns))
            for path in Path(where).glob("*.parquet")
        ]
    if not found:
        raise InputError(f"{where}: no columnar index of crawl {crawl!r}")
    return sorted(found, key=lambda file: file.name)


def look_up(
    source: Source, files: Sequence[IndexFile], selection: CommonCrawl, keys: Sequence[str], out: Path
) -> list[Path]:
    """For each index file, the rows of the selection, as a Parquet file in `out`; those that are there are kept.

    Columns as in `COLUMNS`, and `excluded`: null, `http_status` or `mime_type`.
    """
    predicate = key_predicate(keys, selection.domains)
    written = []
    for number, file in enumerate(track(files, description="columnar index", unit="file")):
        path = out / f"index-{number:05d}.parquet"
        written.append(path)
        if path.exists():
            continue
        table = mark_excluded(scan(source, file.name, predicate), selection.mime_types).to_arrow()
        with parquet_writer(path, table.schema) as writer:
            writer.write_table(table)
    return written


def scan(source: Source, name: str, predicate: pl.Expr) -> pl.DataFrame:
    """Rows of one index file for which `predicate` holds.

    Raises:
        InputError: when the file is missing, unreadable or lacks a column.
        FetchError: when the server did not answer.
    """
    address = source.address(name)

    def collect() -> pl.DataFrame:
        try:
            lazy = pl.scan_parquet(address, storage_options=storage_options(source))
            missing = sorted(set(COLUMNS) - set(lazy.collect_schema().names()))
            if missing:
                raise InputError(f"{address}: lacks the columns {missing}")
            return lazy.filter(predicate).select(pl.col(n).cast(t) for n, t in COLUMNS.items()).collect()
        except pl.exceptions.ComputeError as error:
            if "404" in str(error) or "not a parquet" in str(error).lower() or not source.is_remote:
                raise InputError(f"{address}: {error}") from error
            raise OSError(str(error)) from error
        except FileNotFoundError as error:
            raise InputError(f"{address}: no such file") from error

    return source.retry.call(collect, address)


def storage_options(source: Source) -> dict[str, Any] | None:
    """Polars' options for the root of `source`."""
    if source.protocol != "s3":
        return None
    options: dict[str, Any] = {}
    if source.endpoint_url:
        options |= {"aws_endpoint_url": source.endpoint_url, "aws_allow_http": "true"}
    if not has_aws_credentials():
        options |= {"aws_skip_signature": "true"}
    return options


def key_predicate(keys: Sequence[str], domains: Sequence[str]) -> pl.Expr:
    """Rows whose `url_surtkey` is one of `keys` or of a page of `domains`."""
    key = pl.col("url_surtkey")
    ordered = sorted(keys)
    size = max(1, -(-len(ordered) // KEY_GROUPS))
    terms = [key.is_in(ordered[start : start + size]) for start in range(0, len(ordered), size)]
    for domain in domains:
        terms += [(key >= pl.lit(low)) & (key < pl.lit(high)) for low, high in surt_range(domain)]
    return functools.reduce(operator.or_, terms)


def mark_excluded(rows: pl.DataFrame, mime_types: Sequence[str]) -> pl.DataFrame:
    """Add `excluded`: `http_status` where it is not 200, `mime_type` where one is declared and not wanted."""
    mime_type = pl.col("content_mime_type").str.split(";").list.first().str.strip_chars().str.to_lowercase()
    return rows.with_columns(
        excluded=pl.when(pl.col("fetch_status").ne_missing(200))
        .then(pl.lit("http_status"))
        .when(mime_type.is_not_null() & mime_type.ne("") & ~mime_type.is_in(list(mime_types)))
        .then(pl.lit("mime_type"))
    )


def read_url_list(path: Path, sha256: str) -> list[str]:
    """Addresses of a list, one a line; empty lines and lines that begin with `#` do not count.

    Raises:
        InputError: when the file is missing, is not the one named by `sha256`, or is not UTF-8.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    data = path.read_bytes()
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise InputError(f"{path}: its SHA-256 is {actual}, source.url_list_sha256 says {sha256}")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error}") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def open_source(root: str | None, endpoint_url: str | None) -> Source:
    """The given root of Common Crawl's layout, by default the public one."""
    return Source(root=root or PUBLIC_ROOT, endpoint_url=endpoint_url)
