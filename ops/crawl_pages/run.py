"""Read one bucket of a crawl."""

import dataclasses
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ops.crawl_manifest.config import PUBLIC_ROOT
from ops.crawl_manifest.rows import Row, read_manifest
from ops.crawl_pages.config import CrawlPagesConfig
from ops.crawl_pages.pages import DOCUMENT_TYPES, PageReader
from ops.crawl_pages.ranged import add_fetched
from ops.errors import InputError
from ops.parts import BATCH_ROWS, Batch, Totals, mark_path, totals, write_part
from ops.progress import track
from ops.schema import PAGES
from ops.stage import Check, Execution, Inputs, StageResult, one, reconcile
from ops.warc.archive import read_archive
from ops.warc.retry import RetryPolicy
from ops.warc.source import Source

STAGE = "crawl_pages"
BATCH_BYTES = 16 * 1024 * 1024
FETCHES_IN_FLIGHT = 8
"""Ranged reads under way at once. Common Crawl asks for few."""

MAX_MISMATCH_SHARE = 0.01
FILES_SHOWN = 100
"""File names that the record lists; all of them are in the manifest."""


def run(
    config: CrawlPagesConfig, inputs: Inputs, out: Path, execution: Execution, retry: RetryPolicy | None = None
) -> StageResult:
    """Write PAGES parts: one for each WARC file of the bucket, or for each so many records that are read by range.

    A bucket without rows gives one empty part. Reasons of drops: `wrong_length`, `corrupt_record`, `corrupt_tail`,
    `bad_warc_header`, `revisit`, `taken_down`, `not_http`, `bad_http`, `redirect`, `http_status`, `mime_type`,
    `truncated`, `too_large`, `payload_digest_mismatch`, `content_encoding`, `empty_body`; for ranged reads also
    `not_found`, `wrong_range`, `wrong_url` and `not_a_response`.

    Raises:
        InputError: when a WARC file is missing, empty, no WARC, not compressed record by record, or not the one of the
            manifest (names the file).
        FetchError: when a server does not answer; what was read is kept, run again to go on.
    """
    manifest, rows = read_manifest(one(inputs, "crawl_manifest"), config.bucket)
    source = _source(manifest["source"], inputs, execution, retry or RetryPolicy())
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(f"part-{row['part']:05d}", []).append(row)
    for name, part_rows in track((parts or {"part-00000": []}).items(), description=STAGE, unit="part"):
        if not mark_path(out, name).exists():
            batches = _read_part(config, manifest["crawl"], source, part_rows)
            write_part(out, name, PAGES, batches, stage=STAGE)
    result = totals(out, list(parts or {"part-00000": []}))
    files = sorted({row["warc_filename"] for row in rows})
    return StageResult(
        counts={**result.counts, "warc_files": len(files)},
        dropped=result.dropped,
        checks=_checks(result, rows),
        summary={"warc_files": files[:FILES_SHOWN]},
    )


def _source(kind: str, inputs: Inputs, execution: Execution, retry: RetryPolicy) -> Source:
    if kind == "sample":
        return Source(root=str(one(inputs, "sample_crawl")), retry=retry)
    root = execution.source or (PUBLIC_ROOT if kind == "common_crawl" else None)
    if root is None:
        raise InputError("source: the manifest is of WARC files at execution.source, and it is not set")
    return Source(root=root, endpoint_url=execution.endpoint_url, retry=retry)


def _read_part(config: CrawlPagesConfig, crawl: str, source: Source, rows: Sequence[Row]) -> Iterator[Batch]:
    if not rows:
        return iter(())
    if rows[0]["warc_record_offset"] is None:
        (row,) = rows
        return _read_whole(PageReader(config=config, crawl=crawl, warc_filename=row["warc_filename"]), source, row)
    return _read_ranged(config, crawl, source, rows)


def _read_whole(reader: PageReader, source: Source, row: Row) -> Iterator[Batch]:
    name = source.address(row["warc_filename"])
    try:
        with source.open(row["warc_filename"]) as file:
            size = file.seek(0, 2)
            if size != row["bytes"]:
                raise InputError(f"{name}: has {size} bytes, and {row['bytes']} when the manifest was made")
            file.seek(0)
            if row["sha256"] and hashlib.file_digest(file, "sha256").hexdigest() != row["sha256"]:
                raise InputError(f"{name}: has changed since the manifest was made")
            items = read_archive(file, name, max_block_bytes=reader.max_block_bytes)
            yield from in_batches(partial(reader.add, item) for item in items)
    except FileNotFoundError:
        raise InputError(f"{name}: the manifest names it, and it is not there") from None


def _read_ranged(config: CrawlPagesConfig, crawl: str, source: Source, rows: Sequence[Row]) -> Iterator[Batch]:
    readers = {
        name: PageReader(config=config, crawl=crawl, warc_filename=name)
        for name in {row["warc_filename"] for row in rows}
    }
    fetched = fetch_in_order(source, rows)
    yield from in_batches(partial(add_fetched, readers[row["warc_filename"]], row, data) for row, data in fetched)


def fetch_in_order(source: Source, rows: Iterable[Row]) -> Iterator[tuple[Row, bytes | None]]:
    """Each row with its record's bytes (None: no such file), in order, a few reads ahead."""

    stopped = threading.Event()
    source = dataclasses.replace(source, retry=dataclasses.replace(source.retry, stopped=stopped))

    def fetch(row: Row) -> bytes | None:
        try:
            return source.read_range(row["warc_filename"], row["warc_record_offset"], row["warc_record_length"])
        except FileNotFoundError:
            return None

    under_way: deque[tuple[Row, Future[bytes | None]]] = deque()
    with ThreadPoolExecutor(FETCHES_IN_FLIGHT, thread_name_prefix="fetch") as pool:
        try:
            for row in rows:
                under_way.append((row, pool.submit(fetch, row)))
                if len(under_way) > 2 * FETCHES_IN_FLIGHT:
                    ready, future = under_way.popleft()
                    yield ready, future.result()
            while under_way:
                ready, future = under_way.popleft()
                yield ready, future.result()
        finally:
            stopped.set()
            for _, future in under_way:
                future.cancel()


def in_batches(additions: Iterable[Callable[[Batch], None]]) -> Iterator[Batch]:
    """Collect records into batches of bounded rows and bytes."""
    batch = Batch()
    for add in additions:
        add(batch)
        if len(batch.kept) + len(batch.dropped) >= BATCH_ROWS or batch.counts["content_bytes"] >= BATCH_BYTES:
            yield batch
            batch = Batch()
    yield batch


def _checks(result: Totals, rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    counts, dropped = result.counts, result.dropped
    others = {name: count for name, count in counts.items() if name.startswith("records_")}
    lost = counts.get("records", 0) - counts["in"] - sum(others.values())
    stored_bytes = sum(row["bytes"] for row in rows)
    mismatches = dropped.get("payload_digest_mismatch", 0)
    share = mismatches / counts["in"] if counts["in"] else 0.0
    return [
        reconcile(counts, dropped),
        Check(
            name="every_record_accounted",
            passed=lost == 0,
            description=f"records read = documents ({', '.join(DOCUMENT_TYPES)}, damaged) + records of other types",
            metadata={"records": counts.get("records", 0), "documents": counts["in"], **others},
        ),
        Check(
            name="every_byte_accounted",
            passed=counts.get("stored_bytes", 0) == stored_bytes,
            description="the records read, damaged ones included, cover the bytes that the manifest names",
            metadata={"stored_bytes": counts.get("stored_bytes", 0), "manifest_bytes": stored_bytes},
        ),
        Check(
            name="payload_digests",
            passed=share <= MAX_MISMATCH_SHARE,
            description=f"at most {MAX_MISMATCH_SHARE:.0%} of documents do not have their payload digest",
            metadata={"mismatches": mismatches, "documents": counts["in"], "share": share},
            blocking=False,
        ),
    ]
