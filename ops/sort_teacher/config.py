"""The order that a teacher is sorted in."""

from dataclasses import dataclass
from typing import Literal

from ops.errors import InputError

MAMBA_HEAD_SCORES = ("contribution", "x_score")
EXPERT_SCORES = ("reap", "ean_mean", "weighted_ean_sum")


@dataclass(frozen=True, kw_only=True)
class SortConfig:
    """By which scores, and how the sorted teacher is held against the teacher."""

    mamba_head_score: Literal["contribution", "x_score"] = "contribution"
    """`contribution`: size of a head's part in the layer's output. `x_score`: the rule of Minitron-SSM (arXiv
    2504.11409), which did no better than chance on our small teachers."""

    mamba_head_dim: int | None = None
    """For `x_score` alone: heads are ranked by so many of their best channels, as many as a student keeps; null: all.
    """

    expert_score: Literal["reap", "ean_mean", "weighted_ean_sum"] = "reap"
    """`reap`: mean of router's weight times norm of the output over the tokens of the expert (REAP, arXiv 2510.13999).
    `ean_mean`: mean norm without the weight. `weighted_ean_sum`: sum of REAP's products."""

    check_sequences: int = 8
    """Held-out sequences on which the sorted teacher must give the teacher's logits."""

    check_seq_len: int = 512

    def __post_init__(self) -> None:
        check_scores("SortConfig", self.mamba_head_score, self.expert_score)
        if self.mamba_head_dim is not None and (self.mamba_head_score != "x_score" or self.mamba_head_dim < 1):
            raise InputError(
                f"SortConfig.mamba_head_dim: is for mamba_head_score 'x_score' and from 1, got {self.mamba_head_dim}"
            )
        for name in ("check_sequences", "check_seq_len"):
            if getattr(self, name) < 1:
                raise InputError(f"SortConfig.{name}: must be at least 1, got {getattr(self, name)}")


def check_scores(where: str, mamba_head_score: str, expert_score: str) -> None:
    """Raise InputError for a score that is not known."""
    for name, value, known in (
        ("mamba_head_score", mamba_head_score, MAMBA_HEAD_SCORES),
        ("expert_score", expert_score, EXPERT_SCORES),
    ):
        if value not in known:
            raise InputError(f"{where}.{name}: {value!r} is not one of {list(known)}")
