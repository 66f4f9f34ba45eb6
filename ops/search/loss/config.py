"""A candidate, and the text it is scored on."""

from dataclasses import dataclass

from ops.prune.config import PruneConfig


@dataclass(frozen=True, kw_only=True)
class CandidateLossConfig:
    """The first sequences of the training order of `phase` that `seed` keys. What is chosen by such scores can be
    evaluated on the validation split."""

    prune: PruneConfig | None
    """How the candidate is cut out of the teacher; null: it is input `candidate`."""

    num_sequences: int
    seq_len: int
    phase: int
    seed: int
