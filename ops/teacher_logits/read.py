"""Reading kept teacher logits: rows of a training order, straight from the mapped files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ops.atomic import read_json
from ops.errors import InputError
from ops.identity import decode as decode_config
from ops.teacher_logits.config import TeacherLogitsConfig
from ops.teacher_logits.format import decode, record_type

SOURCE = "source.json"
"""Written first: the config, the digests of teacher and training set, the vocabulary's size."""


def shard_name(number: int) -> str:
    return f"logits-{number:05d}.bin"


class TeacherLogits:
    """The kept logits of one teacher for one training order."""

    def __init__(self, directory: Path, config: TeacherLogitsConfig, source: Mapping[str, Any]) -> None:
        self.directory, self.config = directory, config
        self.digests: Mapping[str, str] = source["inputs"]
        """SHA-256 by file of the teacher's checkpoint and of the training set's manifest."""

        self.vocab_size: int = source["vocab_size"]
        self.record = record_type(top_k=config.top_k, vocab_size=self.vocab_size, log_prob_bits=config.log_prob_bits)
        self._shards = [self._map(number) for number in range(num_shards(config))]

    @classmethod
    def open(cls, directory: Path) -> "TeacherLogits":
        """Open a finished artefact.

        Raises:
            InputError: when a file is missing or has another size.
        """
        source = read_json(directory / SOURCE)
        return cls(directory, decode_config(TeacherLogitsConfig, source["config"], str(directory / SOURCE)), source)

    def _map(self, number: int) -> np.ndarray:
        path = self.directory / shard_name(number)
        rows = rows_of(self.config, number)
        expected = rows * self.config.seq_len * self.record.itemsize
        found = path.stat().st_size if path.exists() else None
        if found != expected:
            raise InputError(f"{path}: has {found} bytes, {expected} expected; make the teacher's logits again")
        return np.memmap(path, dtype=self.record, mode="r", shape=(rows, self.config.seq_len))

    def log_tails(self) -> np.ndarray:
        """Log of the mass that is not kept, of every token."""
        return np.concatenate([decode(shard)[2].ravel() for shard in self._shards])

    def rows(self, samples: range) -> dict[str, np.ndarray]:
        """`teacher_ids`, `teacher_log_probs` (samples, L, K) and `teacher_log_tail` (samples, L).

        Raises:
            InputError: for samples behind the last one.
        """
        if samples.stop > self.config.num_sequences:
            kept = self.config.num_sequences
            raise InputError(f"{self.directory}: keeps {kept} sequences, {samples.stop} are needed")
        size = self.config.shard_sequences
        records = np.stack([self._shards[number // size][number % size] for number in samples])
        ids, log_probs, log_tail = decode(records)
        return {"teacher_ids": ids, "teacher_log_probs": log_probs, "teacher_log_tail": log_tail}


def num_shards(config: TeacherLogitsConfig) -> int:
    """How many files there are."""
    return -(-config.num_sequences // config.shard_sequences)


def rows_of(config: TeacherLogitsConfig, number: int) -> int:
    """Sequences in a file: the last may have fewer."""
    return min(config.shard_sequences, config.num_sequences - number * config.shard_sequences)
