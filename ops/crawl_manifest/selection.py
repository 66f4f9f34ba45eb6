"""From rows of the columnar index to the manifest: what was asked for, found, excluded and missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ops.crawl_manifest.config import CommonCrawl
from ops.crawl_manifest.rows import MANIFEST, bucket_of
from ops.errors import InputError
from ops.parts import write_rows
from ops.warc.surt import surt_key, surt_range

MISSING = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # url or domain
        pa.field("wanted", pa.string(), nullable=False),
        pa.field("url_surtkey", pa.string()),
        pa.field("reason", pa.string(), nullable=False),  # not_an_address, not_in_index, http_status, mime_type
    ]
)
DOMAINS = pa.schema([pa.field("url_host_registered_domain", pa.string()), pa.field("rows", pa.int64(), nullable=False)])


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Addresses by SURT key, and those that have none."""

    urls_by_key: dict[str, list[str]]
    not_addresses: list[str]

    @property
    def num_urls(self) -> int:
        return sum(map(len, self.urls_by_key.values())) + len(self.not_addresses)


def wanted_urls(urls: Sequence[str]) -> Wanted:
    """Give each address its key. A line of a list that is no address is kept apart, to be reported as missing."""
    by_key: dict[str, list[str]] = {}
    not_addresses = []
    for url in dict.fromkeys(urls):
        try:
            by_key.setdefault(surt_key(url), []).append(url)
        except InputError:
            not_addresses.append(url)
    return Wanted(urls_by_key=by_key, not_addresses=not_addresses)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the index had."""

    rows: pl.LazyFrame
    """The rows of the manifest, without bucket and part."""

    excluded: dict[str, int]
    rows_by_domain: pl.DataFrame
    missing: list[dict[str, str | None]]
    num_matched: int


def sort_out(paths: Sequence[Path], selection: CommonCrawl, wanted: Wanted) -> Found:
    """Sum up the looked-up rows."""
    rows = pl.scan_parquet(list(paths)).unique(["warc_filename", "warc_record_offset"])
    taken = rows.filter(pl.col("excluded").is_null())
    excluded = dict(rows.filter(pl.col("excluded").is_not_null()).group_by("excluded").len().collect().iter_rows())
    by_domain = taken.group_by("url_host_registered_domain").agg(rows=pl.len().cast(pl.Int64))
    missing: list[dict[str, str | None]] = [
        {"kind": "url", "wanted": url, "url_surtkey": None, "reason": "not_an_address"} for url in wanted.not_addresses
    ]
    reasons = dict(
        rows.filter(pl.col("url_surtkey").is_in(list(wanted.urls_by_key)))
        .group_by("url_surtkey")
        .agg(pl.when(pl.col("excluded").is_null().any()).then(None).otherwise(pl.col("excluded").min()))
        .collect()
        .iter_rows()
    )
    for key, urls in wanted.urls_by_key.items():
        reason = reasons.get(key, "not_in_index")
        if reason is not None:
            missing += [{"kind": "url", "wanted": url, "url_surtkey": key, "reason": reason} for url in urls]
    for domain in selection.domains:
        ranges = [(pl.col("url_surtkey") >= low) & (pl.col("url_surtkey") < high) for low, high in surt_range(domain)]
        of_domain = rows.filter(ranges[0] | ranges[1]).select(pl.len(), pl.col("excluded").null_count()).collect()
        matched, kept = of_domain.row(0)
        if not kept:
            reason = "http_status" if matched else "not_in_index"
            missing.append({"kind": "domain", "wanted": domain, "url_surtkey": None, "reason": reason})
    return Found(
        rows=taken,
        excluded=dict(sorted(excluded.items())),
        rows_by_domain=by_domain.sort(["rows", "url_host_registered_domain"], descending=[True, False]).collect(),
        missing=sorted(missing, key=lambda row: (str(row["kind"]), str(row["wanted"]))),
        num_matched=rows.select(pl.len()).collect().item(),
    )


def write_ranged(found: Found, selection: CommonCrawl, num_buckets: int, writer: pq.ParquetWriter) -> list[int]:
    """Write the manifest's rows bucket by bucket, in order of file and offset. Returns rows by bucket."""
    keys = found.rows.select("url_surtkey").unique().collect()["url_surtkey"]
    buckets = pl.DataFrame(
        {"url_surtkey": keys, "bucket": [bucket_of(key, num_buckets) for key in keys]},
        schema={"url_surtkey": pl.String, "bucket": pl.Int32},
    )
    with_bucket = found.rows.join(buckets.lazy(), on="url_surtkey", how="inner")
    counts = []
    for bucket in range(num_buckets):
        rows = (
            with_bucket.filter(pl.col("bucket") == bucket)
            .sort(["warc_filename", "warc_record_offset"])
            .with_columns(
                part=pl.int_range(pl.len(), dtype=pl.Int32) // selection.rows_per_part,
                bytes=pl.col("warc_record_length"),
                sha256=pl.lit(None, dtype=pl.String),
                version=pl.lit(None, dtype=pl.String),
            )
            .select(MANIFEST.names)
            .collect()
        )
        writer.write_table(rows.to_arrow().cast(MANIFEST))
        counts.append(rows.height)
    return counts


def write_evidence(out: Path, found: Found) -> None:
    """`missing.parquet` (what was asked for and is not in the manifest) and `domains.parquet` (rows by domain)."""
    write_rows(out / "missing.parquet", found.missing, MISSING)
    write_rows(out / "domains.parquet", found.rows_by_domain.to_dicts(), DOMAINS)
