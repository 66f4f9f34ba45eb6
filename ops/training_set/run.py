"""Run `ops.training_set`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ops.atomic import atomic_path, read_json, write_json
from ops.data.index import INDEX, INDEX_DTYPE, SPLITS
from ops.data.megatron import DOCUMENTS, ShardMeta, read_meta
from ops.data.schema import TRAINING_DOCUMENTS
from ops.data.token_data import MANIFEST, NUM_PHASES
from ops.errors import InputError
from ops.parts import Row, parquet_writer, read_rows
from ops.progress import track
from ops.schema import DROPPED
from ops.stage import Check, Execution, Inputs, StageResult, many, reconcile
from ops.training_set.config import TrainingSetConfig
from ops.training_set.split import Split, document_phases, source_weight

COLUMNS = ["doc_id", "url", "source", "cluster_id", "math_int_score", "text_bytes", "token_start", "token_length"]
BATCH_ROWS = 8192


def run(config: TrainingSetConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Divide the documents of all shards (input `tokens`, sorted by partition).

    Memory: the names of the sources, and one batch of documents.

    Raises:
        InputError: for shards of different tokenizers, a shard given twice, or a document id that is not 16 ASCII
            characters or fewer.
    """
    directories = many(inputs, "tokens")
    shards = [read_meta(directory) for directory in directories]
    _check_alike(directories, shards)
    sums = _Sums()
    split = Split(_candidates(directories, config, sums), config)
    sources = sorted(sums.sources)
    _write(directories, config, split, sources, sums, out)
    straddling = _straddling_clusters(out / DOCUMENTS)
    write_json(
        out / MANIFEST,
        {
            "vocab_size": shards[0].vocab_size,
            "eod_id": shards[0].eod_id,
            "tokenizer_sha256": shards[0].tokenizer_sha256,
            "num_documents": sums.counts["out"],
            "shards": [
                {
                    "partition": _partition(directory),
                    "sha256": shard.sha256,
                    "num_tokens": shard.num_tokens,
                    "num_documents": shard.num_documents,
                    "dtype": shard.dtype.name,
                }
                for directory, shard in zip(directories, shards, strict=True)
            ],
            "sources": sources,
            "weights": {source: weight for source in sources if (weight := source_weight(source, config)) != 1.0},
            "tokens": sums.tokens_table(None),
            "tokens_by_source": {source: sums.tokens_table(source) for source in sources},
        },
    )
    tokens = sums.tokens_table(None)
    return StageResult(
        counts={
            "in": sums.counts["in"],
            "out": sums.counts["out"],
            "shards": len(shards),
            "sources": len(sources),
            **{f"{name}_tokens": number for name, number in tokens.items()},
            **{f"{name}_documents": sums.documents[name] for name in SPLITS},
        },
        dropped=dict(sorted(sums.dropped.items())),
        checks=[
            reconcile(sums.counts, sums.dropped),
            Check(
                name="no_cluster_straddles",
                passed=not straddling,
                description="no cluster of near-duplicates has documents in both training and validation",
                metadata={"straddling": straddling},
            ),
            Check(
                name="training_not_empty",
                passed=tokens["train_phase_1"] > 0,
                description="phase 1 has training tokens",
                metadata=tokens,
            ),
            Check(
                name="validation_not_empty",
                passed=tokens["validation"] > 0,
                description="validation has tokens; of few documents a larger `validation_fraction` holds some out",
                metadata=tokens,
            ),
            Check(
                name="phase_2_not_empty",
                passed=tokens["train_phase_2"] > 0,
                description="phase 2 has training tokens",
                metadata=tokens,
                blocking=False,
            ),
        ],
        summary={"tokens": tokens, "sources": _largest_sources(sums, sources)},
    )


class _Sums:
    """What is counted on the way."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter({"in": 0, "out": 0})
        self.dropped: Counter[str] = Counter()
        self.sources: set[str] = set()
        self.documents: Counter[str] = Counter()
        self.tokens: Counter[tuple[str, str | None]] = Counter()  # (column of the table, source or None for all)

    def add(self, row: Row) -> None:
        self.counts["out"] += 1
        self.documents[row["split"]] += 1
        names = ["validation"]
        if row["split"] == "train":
            names = [f"train_phase_{phase + 1}" for phase in range(NUM_PHASES) if row["phases"] >> phase & 1]
        for name in names:
            for source in (None, row["source"]):
                self.tokens[name, source] += row["token_length"]

    def tokens_table(self, source: str | None) -> dict[str, int]:
        columns = [*(f"train_phase_{phase + 1}" for phase in range(NUM_PHASES)), "validation"]
        return {name: self.tokens[name, source] for name in columns}


def _candidates(directories: Sequence[Path], config: TrainingSetConfig, sums: _Sums) -> Iterator[tuple[str, str]]:
    """(source, cluster_id) of the documents that some phase takes; counts the sources on the way."""
    for directory in track(directories, description="training_set: split", unit="shard"):
        columns = ["source", "cluster_id", "math_int_score"]
        for rows in read_rows(directory / DOCUMENTS, columns=columns, batch_rows=BATCH_ROWS):
            for row in rows:
                if document_phases(row["math_int_score"], config):
                    sums.sources.add(row["source"])
                    sums.documents["all"] += 1
                    yield row["source"], row["cluster_id"]


def _write(
    directories: Sequence[Path], config: TrainingSetConfig, split: Split, sources: list[str], sums: _Sums, out: Path
) -> None:
    """Write `documents.parquet`, `index.npy` and the table of dropped documents."""
    source_numbers = {source: number for number, source in enumerate(sources)}
    total = sums.documents["all"]
    with (
        parquet_writer(out / DOCUMENTS, TRAINING_DOCUMENTS) as documents,
        parquet_writer(out / "dropped" / DOCUMENTS, DROPPED) as dropped,
        atomic_path(out / INDEX) as index_path,
        closing(_IndexWriter(index_path, total)) as index,
    ):
        for shard, directory in enumerate(track(directories, description="training_set: write", unit="shard")):
            for rows in read_rows(directory / DOCUMENTS, columns=COLUMNS, batch_rows=BATCH_ROWS):
                kept, left = [], []
                for row in rows:
                    phases = document_phases(row["math_int_score"], config)
                    if phases:
                        row |= {"shard": shard, "split": split.of(row["cluster_id"]), "phases": phases}
                        kept.append(row)
                        sums.add(row)
                    else:
                        left.append(_dropped_row(row))
                sums.counts["in"] += len(rows)
                if kept:
                    documents.write_table(pa.Table.from_pylist(kept, schema=TRAINING_DOCUMENTS))
                    index.append(kept, source_numbers)
                if left:
                    sums.dropped["below_every_phase"] += len(left)
                    dropped.write_table(pa.Table.from_pylist(left, schema=DROPPED))


class _IndexWriter:
    def __init__(self, path: Path, total: int) -> None:
        with path.open("wb") as stream:
            np.save(stream, np.empty(0, INDEX_DTYPE))
        self._array = (
            np.lib.format.open_memmap(path, mode="w+", dtype=INDEX_DTYPE, shape=(total,))
            if total
            else np.empty(0, INDEX_DTYPE)
        )
        self._at = 0

    def append(self, rows: Sequence[Row], source_numbers: dict[str, int]) -> None:
        part = self._array[self._at : self._at + len(rows)]
        for name in ("token_start", "token_length", "text_bytes", "shard", "phases"):
            part[name] = [row[name] for row in rows]
        part["doc_id"] = [_ascii_id(row["doc_id"]) for row in rows]
        part["source"] = [source_numbers[row["source"]] for row in rows]
        part["split"] = [SPLITS.index(row["split"]) for row in rows]
        self._at += len(rows)

    def close(self) -> None:
        if isinstance(self._array, np.memmap):
            self._array.flush()


def _ascii_id(doc_id: str) -> bytes:
    width = INDEX_DTYPE["doc_id"].itemsize
    if not doc_id.isascii() or not 0 < len(doc_id) <= width:
        raise InputError(f"doc_id {doc_id!r}: expected 1 to {width} ASCII characters")
    return doc_id.encode()


def _dropped_row(row: Row) -> Row:
    return {
        "doc_id": row["doc_id"],
        "url": row["url"],
        "stage": "training_set",
        "reason": "below_every_phase",
        "detail": f"math_int_score {row['math_int_score']}",
    }


def _straddling_clusters(documents: Path) -> int:
    """How many clusters have documents in both splits, counted anew from what was written."""
    clusters = pl.scan_parquet(documents).group_by("cluster_id").agg(pl.col("split").n_unique().alias("splits"))
    return clusters.filter(pl.col("splits") > 1).select(pl.len()).collect(engine="streaming").item()


def _check_alike(directories: Sequence[Path], shards: Sequence[ShardMeta]) -> None:
    seen: dict[str, Path] = {}
    for directory, shard in zip(directories, shards, strict=True):
        for field in ("tokenizer_sha256", "vocab_size", "eod_id", "dtype"):
            if getattr(shard, field) != getattr(shards[0], field):
                raise InputError(
                    f"{directory}: its {field} is {getattr(shard, field)}, "
                    f"that of {directories[0]} is {getattr(shards[0], field)}"
                )
        if shard.num_tokens and shard.sha256 in seen:
            raise InputError(f"{directory}: the same tokens as {seen[shard.sha256]}; each shard counts once")
        seen[shard.sha256] = directory


def _partition(directory: Path) -> str | None:
    """The partition's name from the record of an artefact of the store; None for a stage run by hand."""
    path = directory / "record.json"
    return read_json(path).get("partition") if path.exists() else None


def _largest_sources(sums: _Sums, sources: Sequence[str], count: int = 20) -> list[dict[str, Any]]:
    rows = [{"source": source, **sums.tokens_table(source)} for source in sources]
    return sorted(rows, key=lambda row: (-row["train_phase_1"], row["source"]))[:count]
