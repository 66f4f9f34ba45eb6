"""Rows of `manifest.parquet`, and which bucket they go to."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from ops.atomic import read_json
from ops.errors import InputError
from ops.parts import read_rows

MANIFEST = pa.schema(
    [
        pa.field("bucket", pa.int32(), nullable=False),
        pa.field("part", pa.int32(), nullable=False),  # number of the bucket's part that this becomes
        pa.field("warc_filename", pa.string(), nullable=False),  # relative to the source
        pa.field("warc_record_offset", pa.int64()),  # null: the whole file
        pa.field("warc_record_length", pa.int64()),  # null: the whole file
        pa.field("url", pa.string()),  # null: the whole file
        pa.field("bytes", pa.int64(), nullable=False),  # what will be read
        pa.field("sha256", pa.string()),  # of a local file
        pa.field("version", pa.string()),  # of a remote file: its ETag
    ]
)

Row = dict[str, Any]


def bucket_of(name: str, num_buckets: int) -> int:
    """The bucket of a WARC file (by its name) or a page (by its SURT key): SHA-256 modulo the number of buckets."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % num_buckets


def number_whole_files(rows: Iterable[Row], num_buckets: int) -> Iterator[Row]:
    """Bucket and part of whole files, one file a part, in order of bucket and name."""
    keyed = sorted((bucket_of(row["warc_filename"], num_buckets), row["warc_filename"], row) for row in rows)
    part = 0
    for index, (bucket, _, row) in enumerate(keyed):
        part = part + 1 if index and keyed[index - 1][0] == bucket else 0
        yield {**row, "bucket": bucket, "part": part}


def read_manifest(directory: Path, bucket: int) -> tuple[dict[str, Any], list[Row]]:
    """`manifest.json` and the rows of one bucket, in order of part.

    Raises:
        InputError: when the manifest is damaged, or has no such bucket.
    """
    totals = read_json(directory / "manifest.json")
    if not 0 <= bucket < totals["num_buckets"]:
        raise InputError(f"bucket: {bucket} is not one of the manifest's {totals['num_buckets']} buckets")
    rows = [
        row
        for batch in read_rows(directory / "manifest.parquet", columns=MANIFEST.names, batch_rows=4096)
        for row in batch
        if row["bucket"] == bucket
    ]
    expected = totals["buckets"][bucket]["rows"]
    if len(rows) != expected:
        raise InputError(f"{directory}: manifest.parquet has {len(rows)} rows of bucket {bucket}, not {expected}")
    return totals, rows
