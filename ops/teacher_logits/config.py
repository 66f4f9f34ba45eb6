"""Which of the teacher's logits are kept, and how exactly."""

from dataclasses import dataclass
from typing import Literal

from ops.errors import InputError
from ops.train.config import check_range


@dataclass(frozen=True, kw_only=True)
class TeacherLogitsConfig:
    """The first `num_sequences` samples of a training order; a student reads the same order, or less of it."""

    num_sequences: int = 2048
    seq_len: int = 256
    phase: int = 2
    seed: int = 0
    packing: Literal["stream", "best_fit"] = "stream"
    """`seq_len`, `phase`, `seed` and `packing` are those of the students' runs."""

    top_k: int = 64
    """Tokens kept of each distribution; the mass of all others is kept as one number."""

    log_prob_bits: Literal[16, 32] = 16
    """Of a log-probability: 16 bits count in steps of 1/1024 nat down to -64, 32 are a float."""

    batch_size: int = 8
    """Sequences of a forward pass."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the teacher's matrix products and activations, as in training."""

    shard_sequences: int = 256
    """Sequences of a file. A kill costs at most one file's work."""

    def __post_init__(self) -> None:
        for name in ("num_sequences", "seq_len", "top_k", "batch_size", "shard_sequences"):
            check_range(self, name, 1)
        check_range(self, "phase", 1, 2)
        check_range(self, "seed", 0)
        for name, known in (
            ("packing", ("stream", "best_fit")),
            ("log_prob_bits", (16, 32)),
            ("precision", ("float32", "bfloat16")),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"TeacherLogitsConfig.{name}: {getattr(self, name)!r} is not one of {known}")
