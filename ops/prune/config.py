"""The shape of a pruned network."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from model.config_checks import LAYER_KINDS
from ops.errors import InputError
from ops.sort_teacher.config import check_scores


@dataclass(frozen=True, kw_only=True)
class WidthTarget:
    """Sizes of the pruned network. An integer is a size, a number below 1 a share of the teacher's size (rounded down
    to a valid one, see ops.prune.target), null keeps the teacher's."""

    d_model: int | float | None = None
    intermediate_size: int | float | None = None
    num_attention_heads: int | float | None = None
    mamba_num_heads: int | float | None = None
    mamba_head_dim: int | float | None = None
    n_routed_experts: int | float | None = None
    moe_intermediate_size: int | float | None = None
    moe_shared_expert_intermediate_size: int | float | None = None
    moe_latent_size: int | float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            valid = value is None or (value >= 1 if isinstance(value, int) else 0 < value <= 1)
            if not valid or isinstance(value, bool):
                raise InputError(
                    f"WidthTarget.{item.name}: must be a size of at least 1, a share in (0, 1], or null; got {value!r}"
                )


def check_kind(where: str, kind: str) -> None:
    """Raise InputError for a letter that is no kind of layer."""
    if kind not in LAYER_KINDS:
        known = ", ".join(f"{letter!r} {name}" for letter, name in LAYER_KINDS.items())
        raise InputError(f"{where}: {kind!r} is no kind of layer; there are {known}")


@dataclass(frozen=True, kw_only=True)
class DepthTarget:
    """Layers of the pruned network."""

    num_layers: int | None = None
    """How many stay in all; null: what `keep` says."""

    keep: Mapping[str, int] = field(default_factory=dict)
    """How many of a kind (`M`, `-`, `*`, `E`) stay, exactly. Other kinds lose what `num_layers` asks for, or nothing.
    Nemotron Nano 2 keeps its attention layers (arXiv 2508.14444, section 4.2)."""

    def __post_init__(self) -> None:
        if self.num_layers is not None and self.num_layers < 1:
            raise InputError(f"DepthTarget.num_layers: must be at least 1 or null, got {self.num_layers}")
        for kind, count in self.keep.items():
            check_kind("DepthTarget.keep", kind)
            if count < 0:
                raise InputError(f"DepthTarget.keep: counts are from 0, got {kind!r}: {count}")


@dataclass(frozen=True, kw_only=True)
class PruneConfig:
    """What is cut, and by which scores."""

    width: WidthTarget = field(default_factory=WidthTarget)
    depth: DepthTarget = field(default_factory=DepthTarget)

    mamba_head_score: Literal["contribution", "x_score"] = "contribution"
    expert_score: Literal["reap", "ean_mean", "weighted_ean_sum"] = "reap"
    """The order in which heads and experts go, as in ops.sort_teacher. A sorted teacher must have this order."""

    layer_score: Literal["iterative_mse", "logit_mse", "lm_loss", "block_influence"] = "iterative_mse"
    """Which layers go first. `iterative_mse` is that of Nemotron Nano 2, `block_influence` and `lm_loss` are those of
    Minitron."""

    multi_token_prediction: bool = True
    """Whether the blocks for multi-token prediction stay, if there are any."""

    def __post_init__(self) -> None:
        check_scores("PruneConfig", self.mamba_head_score, self.expert_score)
        known = ("iterative_mse", "logit_mse", "lm_loss", "block_influence")
        if self.layer_score not in known:
            raise InputError(f"PruneConfig.layer_score: {self.layer_score!r} is not one of {list(known)}")
