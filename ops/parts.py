"""Parts of an artefact: one Parquet file in, one out, a completion mark each.

A stage over documents is a function of one batch of rows. `run_parts` gives it the loop: every `part-XXXXX.parquet` of
the input becomes the part of the same name, what was dropped goes to `dropped/part-XXXXX.parquet` with its reason, and
`marks/part-XXXXX.json` is written last. A killed run goes on behind the last mark.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ops.atomic import atomic_path, read_json, write_json
from ops.errors import InputError
from ops.pool import each_part
from ops.schema import DROPPED

Row = dict[str, Any]
BATCH_ROWS = 256


@dataclass(kw_only=True)
class Batch:
    """What became of a batch of rows: kept rows in order, dropped rows as (row, reason, detail), and counters."""

    kept: list[Row] = field(default_factory=list)
    dropped: list[tuple[Mapping[str, Any], str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def keep(self, row: Row) -> None:
        self.kept.append(row)

    def drop(self, row: Mapping[str, Any], reason: str, detail: str = "") -> None:
        """`reason` is one of few, it becomes a counter; `detail` is the evidence."""
        self.dropped.append((row, reason, detail))


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over all parts."""

    counts: dict[str, int]
    dropped: dict[str, int]


@contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """An atomic Parquet file with fixed settings, so that equal rows give equal bytes."""
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        yield writer


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows as one Parquet file, atomically."""
    with parquet_writer(path, schema) as writer:
        writer.write_table(pa.Table.from_pylist(list(rows), schema=schema))


def part_paths(directory: Path) -> list[Path]:
    """The parts of an artefact, in order.

    Raises:
        InputError: when there is none.
    """
    parts = sorted(directory.glob("part-*.parquet"))
    if not parts:
        raise InputError(f"{directory}: holds no part-*.parquet")
    return parts


def read_rows(path: Path, *, columns: list[str] | None = None, batch_rows: int = BATCH_ROWS) -> Iterator[list[Row]]:
    """Rows of a Parquet file in batches.

    Raises:
        InputError: when the file is not Parquet or lacks a column.
    """
    try:
        reader = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {error}") from error
    with reader:
        missing = set(columns or ()) - set(reader.schema_arrow.names)
        if missing:
            raise InputError(f"{path}: lacks the columns {sorted(missing)}")
        for batch in reader.iter_batches(batch_size=batch_rows, columns=columns):
            yield batch.to_pylist()


def write_part(out: Path, name: str, schema: pa.Schema, batches: Iterable[Batch], *, stage: str) -> None:
    """Write part `name` (such as `part-00000`) of an artefact from its batches: kept rows, dropped rows, then the mark.

    The mark counts `in`, `out`, every reason and whatever the batches counted.
    """
    counts: Counter[str] = Counter({"in": 0, "out": 0})
    dropped: Counter[str] = Counter()
    with (
        parquet_writer(out / f"{name}.parquet", schema) as kept_writer,
        parquet_writer(out / "dropped" / f"{name}.parquet", DROPPED) as dropped_writer,
    ):
        for batch in batches:
            if batch.kept:
                kept_writer.write_table(pa.Table.from_pylist(batch.kept, schema=schema))
            if batch.dropped:
                rows = [
                    {
                        "doc_id": row["doc_id"],
                        "url": row["url"],
                        "stage": stage,
                        "reason": reason,
                        "detail": detail,
                    }
                    for row, reason, detail in batch.dropped
                ]
                dropped_writer.write_table(pa.Table.from_pylist(rows, schema=DROPPED))
                dropped.update(reason for _, reason, _ in batch.dropped)
            counts["in"] += len(batch.kept) + len(batch.dropped)
            counts["out"] += len(batch.kept)
            counts.update(batch.counts)
    write_json(mark_path(out, name), {"counts": dict(counts), "dropped": dict(dropped)})


def mark_path(out: Path, name: str) -> Path:
    """Where the completion mark of a part lies."""
    return out / "marks" / f"{name}.json"


Transform = Callable[[list[Row]], Batch]


def run_parts(
    source: Path,
    out: Path,
    schema: pa.Schema,
    transform: Transform,
    *,
    stage: str,
    columns: list[str] | None = None,
    batch_rows: int = BATCH_ROWS,
    num_processes: int = 1,
) -> Totals:
    """Turn every part of `source` into the part of the same name in `out`, skipping those that have a mark.

    `transform` gets the rows of a batch in order and must keep or drop every one of them. For several processes it
    must be picklable.

    Raises:
        InputError: when a source part cannot be read, or `transform` lost or invented a row (names the part).
    """
    names = [path.stem for path in part_paths(source)]
    work = partial(_make_part, source, out, schema, transform, stage, columns, batch_rows)
    each_part(unfinished(out, names), work, description=stage, num_processes=num_processes)
    return totals(out, names)


def unfinished(out: Path, names: Sequence[str]) -> list[str]:
    """Those of the named parts that have no mark."""
    return [name for name in names if not mark_path(out, name).exists()]


def _make_part(
    source: Path,
    out: Path,
    schema: pa.Schema,
    transform: Transform,
    stage: str,
    columns: list[str] | None,
    batch_rows: int,
    name: str,
) -> None:
    path = source / f"{name}.parquet"

    def batches() -> Iterator[Batch]:
        for rows in read_rows(path, columns=columns, batch_rows=batch_rows):
            batch = transform(rows)
            if len(batch.kept) + len(batch.dropped) != len(rows):
                raise InputError(
                    f"{path}: stage {stage!r} was given {len(rows)} rows, "
                    f"kept {len(batch.kept)} and dropped {len(batch.dropped)}"
                )
            yield batch

    write_part(out, name, schema, batches(), stage=stage)


def totals(out: Path, names: Sequence[str]) -> Totals:
    """Sum the marks of the named parts.

    Raises:
        InputError: when a part has no mark.
    """
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for name in names:
        mark = read_json(mark_path(out, name))
        counts.update(mark["counts"])
        dropped.update(mark["dropped"])
    return Totals(counts=dict(sorted(counts.items())), dropped=dict(sorted(dropped.items())))
