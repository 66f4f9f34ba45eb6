"""Batches of training and validation tokens, straight from the memory-mapped shards.

Shapes: B rows of a batch, L positions of a row.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ops.data.batch import IGNORED, Batch
from ops.data.index import INDEX, SPLITS, read_index
from ops.data.megatron import BIN, map_tokens, read_meta
from ops.data.order import DocumentStream, Segment
from ops.data.packing import PackedStream
from ops.errors import InputError

MANIFEST = "manifest.json"
NUM_PHASES = 2
PACKINGS = ("stream", "best_fit")
VALIDATION_SEED = 0  # validation has one fixed order, so that its first tokens are a sample of all sources


class TokenData:
    """The tokens of a training set.

    Training order: in each epoch the documents of the phase come once (or as often as the training set's weight of
    their source says), in an order keyed by (seed, epoch). With the packing `stream` they follow each other end to
    end, epochs without a gap, and sample n is the window of L tokens that begins at position n L: every token is an
    input once an epoch, and every token but the first of each document a label. With `best_fit` sample n is the n-th
    row that `ops.data.packing` makes of each epoch's documents: none that fits into a row is cut, rows end in padding.
    """

    def __init__(
        self, *, training_set: Path, directories: Sequence[Path], shards: Sequence[np.ndarray], manifest: dict[str, Any]
    ) -> None:
        self._training_set = training_set
        self._directories = directories
        self._shards = shards
        self._source_names: list[str] = manifest["sources"]
        self.vocab_size: int = manifest["vocab_size"]
        self.eod_id: int = manifest["eod_id"]
        weights = manifest.get("weights", {})
        self._weights = np.array([weights.get(source, 1.0) for source in self._source_names]) if weights else None
        self._index = read_index(training_set / INDEX, manifest["num_documents"])
        self._stream = lru_cache(maxsize=4)(self._make_stream)
        self._packed = lru_cache(maxsize=4)(self._make_packed)

    @classmethod
    def open(cls, training_set: Path, tokens: Sequence[Path], *, verify: bool = False) -> "TokenData":
        """Open a training set over its token shards, in any order.

        Args:
            training_set: artefact of `ops.training_set`.
            tokens: artefacts of `ops.tokenize`: those that the training set was made from.
            verify: read every shard and compare its SHA-256; otherwise only sizes are compared.

        Raises:
            InputError: when a shard is missing, is not the one the training set was made from, or is cut short.
        """
        path = training_set / MANIFEST
        try:
            manifest = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise InputError(f"{training_set}: holds no {MANIFEST}, so it is not a (finished) training set") from None
        except ValueError as error:
            raise InputError(f"{path}: not JSON: {error}") from error
        found = {read_meta(Path(directory)).sha256: Path(directory) for directory in tokens}
        directories, shards = [], []
        for number, shard in enumerate(manifest["shards"]):
            directory = found.get(shard["sha256"])
            if directory is None:
                raise InputError(
                    f"{training_set}: its shard {number} (partition {shard['partition']}, SHA-256 {shard['sha256']}) "
                    f"is none of the {len(tokens)} token shards given; give those of every partition"
                )
            mapped = map_tokens(directory, np.dtype(shard["dtype"]).newbyteorder("<"), shard["num_tokens"])
            if verify and _sha256(directory / BIN) != shard["sha256"]:
                raise InputError(f"{directory / BIN}: its SHA-256 is not the one that {path} recorded")
            directories.append(directory)
            shards.append(mapped)
        return cls(training_set=training_set, directories=directories, shards=shards, manifest=manifest)

    def num_tokens(self, split: str, phase: int = 1) -> int:
        """Tokens of a split: of every document of `phase` once in training; all of validation, which has no phases."""
        return int(self._index["token_length"][self._rows(split, phase, None)].sum())

    def num_bytes(self, split: str, phase: int = 1, source: str | None = None) -> int:
        """UTF-8 bytes of the text behind the tokens of a split (EODs stand for none), as `num_tokens` counts."""
        return int(self._index["text_bytes"][self._rows(split, phase, source)].sum())

    def sources(self, split: str) -> list[str]:
        """The sources (URL hosts) with documents in a split, sorted."""
        numbers = np.unique(self._index["source"][self._index["split"] == _split_number(split)])
        return sorted(self._source_names[number] for number in numbers)

    def batch(
        self,
        *,
        phase: int,
        step: int,
        batch_size: int,
        seq_len: int,
        seed: int,
        packing: str = "stream",
        rank: int = 0,
        world_size: int = 1,
    ) -> Batch:
        """The training batch of a step: a pure function of its arguments.

        Args:
            phase: 1 or 2, the data phase.
            step: counted from the beginning of the phase.
            batch_size: rows of the global batch, over all ranks: samples `step * batch_size + i`.
            seq_len: L.
            seed: keys the order.
            packing: `stream` or `best_fit`.
            rank, world_size: this process gets the rank-th of `world_size` equal, contiguous slices.

        Raises:
            InputError: when the phase has no tokens, or the batch does not divide among the ranks.
        """
        if step < 0 or batch_size < 1 or seq_len < 1 or not 0 <= rank < world_size:
            raise InputError(f"no such batch: {step=}, {batch_size=}, {seq_len=}, {rank=}, {world_size=}")
        if batch_size % world_size:
            raise InputError(f"batch_size {batch_size} does not divide among {world_size} processes")
        local = batch_size // world_size
        samples = range(step * batch_size + rank * local, step * batch_size + (rank + 1) * local)
        return self.samples(samples, phase=phase, seq_len=seq_len, seed=seed, packing=packing)

    def samples(self, samples: range, *, phase: int, seq_len: int, seed: int, packing: str = "stream") -> Batch:
        """Samples of the training order of a phase by their numbers; arguments as of `batch`.

        Raises:
            InputError: when the phase has no tokens.
        """
        rows, segments = self._samples(phase, samples, seq_len, seed, packing)
        return self._assemble(rows, segments, seq_len)

    def validation_batches(
        self, *, batch_size: int, seq_len: int, source: str | None = None, max_tokens: int | None = None
    ) -> Iterator[Batch]:
        """Every validation token once, in one fixed order of documents.

        Args:
            source: only documents of this source.
            max_tokens: end after so many input tokens.

        Yields:
            Batches of `batch_size` rows; the last one has only the rows it needs, and its last row is padded with
            EOD (label -100).

        Raises:
            InputError: when there are no such tokens.
        """
        rows, stream = self._stream("validation", 1, source, VALIDATION_SEED)
        total = stream.epoch_tokens if max_tokens is None else min(stream.epoch_tokens, max_tokens)
        starts = list(range(0, total, seq_len))
        for at in range(0, len(starts), batch_size):
            some = starts[at : at + batch_size]
            yield self._assemble(
                rows, [list(stream.segments(start, min(seq_len, total - start))) for start in some], seq_len
            )

    def trace(
        self,
        *,
        phase: int,
        step: int,
        sample: int,
        position: int,
        batch_size: int,
        seq_len: int,
        seed: int,
        packing: str = "stream",
    ) -> dict[str, Any]:
        """Where an input token of training comes from.

        Args:
            sample: row of the global batch.
            position: in the row.

        Returns:
            Its document's row of the shard's document table (doc_id, url, WARC record, ...) with `shard`,
            `token_in_shard`, `offset_in_document`, `token_id` and `epoch`.

        Raises:
            InputError: when there is no such token, or it is padding.
        """
        from ops.data.trace import locate

        if not (0 <= sample < batch_size and 0 <= position < seq_len):
            raise InputError(f"no such token: {sample=} of {batch_size}, {position=} of {seq_len}")
        number = step * batch_size + sample
        rows, (segments,) = self._samples(phase, range(number, number + 1), seq_len, seed, packing)
        if packing == "best_fit":
            epoch, _ = self._packed(phase, seed, seq_len)[1].locate(number)
        else:
            epoch, _ = self._stream("train", phase, None, seed)[1].locate(number * seq_len + position)
        left = position
        for segment in segments:
            if left < segment.length:
                row = self._index[rows[segment.document]]
                shard = int(row["shard"])
                found = locate(self._directories[shard], int(row["token_start"]) + segment.offset + left)
                return {**found, "shard": shard, "epoch": epoch}
            left -= segment.length
        raise InputError(f"no such token: position {position} of sample {sample} in step {step} is padding")

    def _samples(
        self, phase: int, samples: range, seq_len: int, seed: int, packing: str
    ) -> tuple[np.ndarray, list[list[Segment]]]:
        """The documents that training samples are made of, as rows of the index and runs of their tokens."""
        if packing == "best_fit":
            rows, packed = self._packed(phase, seed, seq_len)
            return rows, [packed.row(number) for number in samples]
        if packing != "stream":
            raise InputError(f"packing {packing!r}: there are {', '.join(PACKINGS)}")
        rows, stream = self._stream("train", phase, None, seed)
        return rows, [list(stream.segments(number * seq_len, seq_len)) for number in samples]

    def _make_packed(self, phase: int, seed: int, seq_len: int) -> tuple[np.ndarray, PackedStream]:
        rows, stream = self._stream("train", phase, None, seed)
        return rows, PackedStream(stream, seq_len)

    def _rows(self, split: str, phase: int, source: str | None) -> np.ndarray:
        if phase not in range(1, NUM_PHASES + 1):
            raise InputError(f"phase {phase}: there are {NUM_PHASES}, counted from 1")
        chosen = self._index["split"] == _split_number(split)
        if split == "train":
            chosen &= (self._index["phases"] >> np.uint8(phase - 1)) & np.uint8(1) == 1
        if source is not None:
            if source not in self._source_names:
                raise InputError(f"{self._training_set}: has no source {source!r}")
            chosen &= self._index["source"] == self._source_names.index(source)
        return np.flatnonzero(chosen)

    def _make_stream(self, split: str, phase: int, source: str | None, seed: int) -> tuple[np.ndarray, DocumentStream]:
        rows = self._rows(split, phase, source)
        if len(rows) == 0:
            of = f" of source {source!r}" if source else ""
            raise InputError(f"{self._training_set}: no {split} documents{of} in phase {phase}")
        weights = None
        if split == "train" and self._weights is not None:
            weights = self._weights[self._index["source"][rows]]
            if not weights.any():
                raise InputError(f"{self._training_set}: every document of phase {phase} has the weight 0")
        return rows, DocumentStream(np.ascontiguousarray(self._index["token_length"][rows]), seed, weights)

    def _assemble(self, rows: np.ndarray, samples: Sequence[Sequence[Segment]], seq_len: int) -> Batch:
        """A row of `seq_len` positions of each sample; padding behind what it holds."""
        shape = (len(samples), seq_len)
        input_ids = np.full(shape, self.eod_id, dtype=np.int64)
        labels = np.full(shape, IGNORED, dtype=np.int64)
        seq_idx = np.zeros(shape, dtype=np.int32)
        doc_ids: list[list[str]] = []
        for row, segments in enumerate(samples):
            names: list[str] = []
            at = 0
            for number, segment in enumerate(segments):
                document: Any = self._index[rows[segment.document]]
                ids = self._read(document, segment)  # one more than the segment where the document goes on
                end = at + segment.length
                input_ids[row, at:end] = ids[: segment.length]
                labels[row, at : at + len(ids) - 1] = ids[1:]
                seq_idx[row, at:end] = number
                names.append(document["doc_id"].decode())
                at = end
            seq_idx[row, at:] = len(names)
            doc_ids.append(names)
        return Batch(input_ids, labels, seq_idx, doc_ids)

    def _read(self, document: Any, segment: Segment) -> np.ndarray:
        first = int(document["token_start"]) + segment.offset
        end = int(document["token_start"]) + int(document["token_length"])
        return self._shards[int(document["shard"])][first : min(first + segment.length + 1, end)]


def _split_number(split: str) -> int:
    if split not in SPLITS:
        raise InputError(f"split {split!r}: there are {list(SPLITS)}")
    return SPLITS.index(split)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
