"""Rows of the corpus into Parquet files by score."""

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ops.errors import InputError
from ops.parts import parquet_writer, part_paths
from ops.schema import CORPUS
from ops.tokenize.encode import source_of

BATCH_ROWS = 256


@dataclass(kw_only=True)
class Content:
    """What was written. Counters by score, but for crawls, languages and hosts, which count documents."""

    documents: Counter[int] = field(default_factory=Counter)
    characters: Counter[int] = field(default_factory=Counter)
    formulas: Counter[int] = field(default_factory=Counter)
    bytes: Counter[int] = field(default_factory=Counter)
    """Of the rows in memory."""
    file_bytes: Counter[int] = field(default_factory=Counter)
    crawls: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)
    files: dict[int, list[Path]] = field(default_factory=dict)


class _Shards:
    """The files of one score, one open at a time."""

    def __init__(self, folder: Path, file_bytes: int) -> None:
        self.paths: list[Path] = []
        self._folder, self._limit, self._size = folder, file_bytes, 0
        self._open = ExitStack()
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.Table) -> None:
        if self._writer is None:
            self.paths.append(self._folder / f"part-{len(self.paths):05d}.parquet")
            self._writer = self._open.enter_context(parquet_writer(self.paths[-1], CORPUS))
        self._writer.write_table(rows)
        self._size += rows.nbytes
        if self._size >= self._limit:
            self.close()

    def close(self) -> None:
        self._open.close()
        self._writer, self._size = None, 0


def write_shards(corpora: Iterable[Path], out: Path, file_bytes: int) -> Content:
    """Write the rows of every corpus partition, in order, to `out/score-N/part-XXXXX.parquet`.

    Memory: a batch of rows and a row group for each score; a counter for each host.

    Raises:
        InputError: when a part cannot be read or has not the columns of a corpus.
    """
    content = Content()
    shards: dict[int, _Shards] = {}
    with ExitStack() as stack:
        for part in (part for corpus in corpora for part in part_paths(corpus)):
            for rows in _batches(part):
                scores = rows["math_int_score"].to_numpy()
                for score in sorted(set(scores.tolist())):
                    if score not in shards:
                        shards[score] = _Shards(out / f"score-{score}", file_bytes)
                        stack.callback(shards[score].close)
                    chosen = rows.filter(pa.array(scores == score))
                    shards[score].write(chosen)
                    _count(content, score, chosen)
    for score, written in sorted(shards.items()):
        content.files[score] = written.paths
        content.file_bytes[score] = sum(path.stat().st_size for path in written.paths)
    return content


def _batches(part: Path) -> Iterable[pa.Table]:
    try:
        reader = pq.ParquetFile(part)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{part}: not a readable Parquet file: {error}") from error
    with reader:
        missing = set(CORPUS.names) - set(reader.schema_arrow.names)
        if missing:
            raise InputError(f"{part}: lacks the columns {sorted(missing)}")
        for batch in reader.iter_batches(batch_size=BATCH_ROWS, columns=CORPUS.names):
            yield pa.Table.from_batches([batch]).cast(CORPUS)


def _count(content: Content, score: int, rows: pa.Table) -> None:
    content.documents[score] += len(rows)
    content.characters[score] += sum(map(len, rows["text"].to_pylist()))
    content.formulas[score] += int(np.sum(rows["num_formulas"].to_numpy()))
    content.bytes[score] += rows.nbytes
    content.crawls.update(rows["crawl"].to_pylist())
    content.languages.update(rows["language"].to_pylist())
    content.hosts.update(source_of(url) for url in rows["url"].to_pylist())
