"""A candidate, and the text it is scored on."""

from dataclasses import dataclass

from ops.prune.config import PruneConfig


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """The first sequences of the validation split."""

    prune: PruneConfig
    num_sequences: int
    seq_len: int
