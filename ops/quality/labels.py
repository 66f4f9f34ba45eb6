"""Labelled documents: from a file, by document or address, or by where a document comes from."""

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq

from ops.errors import InputError
from ops.parts import part_paths, read_rows
from ops.quality.config import HIGHEST_SCORE, AnnotatedLabels, ProvenanceLabels, QualityConfig
from ops.stage import Inputs, one

KEYS = ("text", "doc_id", "url")
LABELS = "labels.jsonl"
"""What `ops.annotate` leaves."""


class Labels:
    """Scores by text, by document or by address."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, float]] = []
        self.by_key: dict[str, dict[str, float]] = {"doc_id": {}, "url": {}}

    def add(self, where: str, row: Mapping[str, Any]) -> None:
        score, keys = row.get("score"), [key for key in KEYS if row.get(key) is not None]
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= HIGHEST_SCORE:
            raise InputError(f"{where}: score {score!r} is not a number within 0..{HIGHEST_SCORE}")
        if not keys or not isinstance(row[keys[0]], str):
            raise InputError(f"{where}: needs one of {', '.join(KEYS)}, as text")
        if keys[0] == "text":
            self.texts.append((row["text"], float(score)))
        else:
            self.by_key[keys[0]][row[keys[0]]] = float(score)


def read_labels(path: Path) -> Labels:
    """Read a file of labels.

    Raises:
        InputError: naming the file and the row that cannot be used.
    """
    labels = Labels()
    if not path.is_file():
        raise InputError(f"{path}: no such file of labels")
    if path.suffix == ".parquet":
        for number, row in enumerate(pq.read_table(path).to_pylist(), 1):
            labels.add(f"{path}, row {number}", row)
        return labels
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: not an object")
            labels.add(f"{path}, line {number}", row)
    return labels


def labelled(
    config: QualityConfig, inputs: Inputs, source: str | None, counts: Counter[str]
) -> list[tuple[float, str, float]]:
    """(hash within 0..1, text, score) of the labelled documents of the lowest hashes, sorted."""
    directories = inputs.get("cleaned", ())
    found: Iterable[tuple[str, float]]
    if isinstance(config.labels, ProvenanceLabels):
        found = _by_provenance(config.labels, directories, counts)
    elif isinstance(config.labels, AnnotatedLabels):
        found = _from_file(read_labels(one(inputs, "labels") / LABELS), directories, counts)
    elif source is None:
        raise InputError("labels: FileLabels reads the file that execution.source names, and it is not set")
    else:
        found = _from_file(read_labels(Path(source)), directories, counts)
    keyed = ((hashed(text, f"{config.seed}"), text, score) for text, score in found)
    return heapq.nsmallest(config.max_documents, keyed)


def _from_file(labels: Labels, directories: Sequence[Path], counts: Counter[str]) -> Iterator[tuple[str, float]]:
    counts["labels"] = len(labels.texts) + sum(map(len, labels.by_key.values()))
    yield from labels.texts
    counts["labelled"] = len(labels.texts)
    if any(labels.by_key.values()):
        for row in _documents(directories, counts):
            score = labels.by_key["doc_id"].get(row["doc_id"], labels.by_key["url"].get(row["url"]))
            if score is not None:
                counts["labelled"] += 1
                yield row["text"], score


def _by_provenance(
    labels: ProvenanceLabels, directories: Sequence[Path], counts: Counter[str]
) -> Iterator[tuple[str, float]]:
    for row in _documents(directories, counts):
        host = urlsplit(row["url"]).hostname or ""
        score = next((entry.score for entry in labels.sources if fnmatchcase(host, entry.pattern)), None)
        if score is not None:
            counts["labelled"] += 1
            yield row["text"], score


def _documents(directories: Sequence[Path], counts: Counter[str]) -> Iterator[Mapping[str, Any]]:
    for directory in directories:
        for path in part_paths(directory):
            for rows in read_rows(path, columns=["doc_id", "url", "text"]):
                counts["documents"] += len(rows)
                yield from rows


def hashed(text: str, key: str) -> float:
    """A number in [0, 1) keyed by `key`."""
    digest = hashlib.sha256(f"{key}:".encode() + text.encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
