"""What is searched, under which budget, and how."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from ops.distill.config import DistillConfig
from ops.errors import InputError
from ops.prune.config import DepthTarget, PruneConfig, WidthTarget, check_kind
from ops.search.latency.config import Workload
from ops.train.config import WSDConfig, check_range

GIB = 2**30
STRUCTURAL = ("parameters", "active_parameters", "memory_bytes")
"""Limits whose costs a configuration decides."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of the searched network; null: none. All that are given must be met. An integer is a number, a number with
    a point up to 1.0 a share of the teacher's.

    Memory is that of decoding: weights, keys and values, and states of `batch` sequences of `context` tokens.
    """

    parameters: int | float | None = None
    active_parameters: int | float | None = None
    """Those that the prediction of one token meets."""

    memory_bytes: int | float | None = None
    context: int = 4096
    batch: int = 1
    weights: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the weights; A_log, D and dt_bias are float32 either way."""

    kv_bytes: int = 2
    """Bytes of a number in keys, values and inputs of the convolution."""

    state_bytes: int = 4
    """Bytes of a number in SSM states."""

    decode_ms: float | None = None
    """Milliseconds for a token of cached decoding, measured on the machine that searches: what `workload` says."""

    workload: Workload = Workload()

    def __post_init__(self) -> None:
        for name in (*STRUCTURAL, "decode_ms"):
            value = getattr(self, name)
            if value is not None:
                check_range(
                    self, name, 0, 1 if isinstance(value, float) and name in STRUCTURAL else math.inf, above=True
                )
        for name in ("context", "batch", "kv_bytes", "state_bytes"):
            check_range(self, name, 1)
        if self.weights not in ("bfloat16", "float32"):
            raise InputError(f"Budget.weights: {self.weights!r} is not bfloat16 or float32")
        if all(getattr(self, name) is None for name in (*STRUCTURAL, "decode_ms")):
            raise InputError("Budget: set a limit: parameters, active_parameters, memory_bytes or decode_ms")

    def limits(self, teacher: Mapping[str, float]) -> dict[str, float]:
        """The limits that are given, by name, as numbers; `teacher` has its costs."""
        found: dict[str, float] = {}
        for name in STRUCTURAL:
            value = getattr(self, name)
            if value is not None:
                found[name] = int(value * teacher[name]) if isinstance(value, float) else value
        if self.decode_ms is not None:
            found["decode_ms"] = self.decode_ms
        return found


NANO_2_BUDGET = Budget(memory_bytes=int(19.66 * GIB), context=131072)
"""That of Nemotron Nano 2: 128k tokens in 19.66 GiB, an A10G's 22.06 less 5 % and 1.3 GiB for a vision encoder (arXiv
2508.14444, section 4)."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Sizes to choose from. A candidate has one of each axis and one depth; an axis that is not named stays whole."""

    width: Mapping[str, tuple[int | float, ...]] = field(default_factory=dict)
    """Field of `WidthTarget` -> sizes, or shares of the teacher's size."""

    num_layers: tuple[int | float, ...] = ()
    """Depths, or shares of the teacher's (none: all of it). Which layers go is the order of importance."""

    keep: Mapping[str, int | float] = field(default_factory=dict)
    """Kind of layers -> how many stay exactly, or which share of them: 1.0 keeps all."""

    def __post_init__(self) -> None:
        known = [item.name for item in fields(WidthTarget)]
        for axis, sizes in self.width.items():
            if axis not in known:
                raise InputError(f"Space.width: no axis {axis!r}; there are {known}")
            if not sizes:
                raise InputError(f"Space.width: {axis} has no sizes")
            for size in sizes:
                WidthTarget(**{axis: size})
        for kind in self.keep:
            check_kind("Space.keep", kind)
        for value in (*self.num_layers, *self.keep.values()):
            if value < 0 or (isinstance(value, float) and value > 1):
                raise InputError(f"Space: numbers of layers are integers from 0, or shares up to 1.0; got {value}")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which candidates are not worth a look, whatever their size: what others have found to fail.

    That heads stay inside their groups and divide among them is no rule here: no other network can be cut.
    """

    max_width_cut: float | None = None
    """Largest share that an axis loses; 0.4 in NVIDIA's Model Optimizer."""

    max_depth_cut: float | None = None
    """Largest share of the layers that go; 0.2 there."""

    multiples: Mapping[str, int] = field(default_factory=dict)
    """Field -> what its size must be a multiple of."""

    excluded: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Field -> sizes that do not work: a mamba_head_dim of 48 in the ablation of Model Optimizer's 30B-A3B."""

    min_mamba_channels: int = 0
    """Least mamba_num_heads * mamba_head_dim; 3072 in that ablation."""

    mamba_heads_from_cut: float = 0.15
    """Mamba heads are cut only where at least this share of the parameters goes: pruning them hurt below it in Nemotron
    Nano 2 (arXiv 2508.14444)."""

    narrow_d_model: bool = True
    """A candidate whose d_model is whole while every other axis of the space is cut is left out: the worst shape of
    that ablation."""

    def __post_init__(self) -> None:
        for name in ("max_width_cut", "max_depth_cut"):
            if getattr(self, name) is not None:
                check_range(self, name, 0.0, 1.0)
        check_range(self, "mamba_heads_from_cut", 0.0, 1.0)
        check_range(self, "min_mamba_channels", 0)
        for name, value in self.multiples.items():
            if value < 1:
                raise InputError(f"Rules.multiples: {name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """A search. The defaults of its last step are those of Minitron-SSM (arXiv 2504.11409): a few hundred steps."""

    space: Space
    budget: Budget
    rules: Rules = Rules()
    base: PruneConfig = PruneConfig()
    """By which scores candidates are cut; its width and depth must be left alone."""

    min_use: float = 0.9
    """Candidates that use less of the budget than this share of what the largest uses are left out (a network's use is
    that of the limit it comes nearest to)."""

    max_scored: int | None = None
    """At most so many candidates are scored, those that use most of the budget (null: all)."""

    calibration_sequences: int = 128
    """Sequences of training text of the distillation's phase on which candidates are compared. The validation split is
    left to evaluations: a choice that had seen it would look better there than it is."""

    seq_len: int = 256
    """Of these sequences."""

    calibration_seed: int = 1000
    """Keys the order that they are the first of. Round n of the distillation has the order of its seed + n."""

    finalists: int = 4
    """The best so many are distilled."""

    distill: DistillConfig = DistillConfig(
        schedule=WSDConfig(warmup_steps=5, decay_fraction=0.3), batch_size=16, total_tokens=400_000, sample_prompts=()
    )
    """The first short distillation of a finalist. Each further one goes on from the last and takes twice as many tokens
    for half as many finalists."""

    max_rounds: int = 3
    """Short distillations of the best finalist, at most."""

    stable_tau: float = 0.9
    """Rounds end when the order of the finalists agrees with that of the round before (first: as they were cut) to
    at least this Kendall's tau."""

    def __post_init__(self) -> None:
        if self.distill.teacher != "online":
            raise InputError("SearchConfig.distill: each round reads other data, so its teacher must be online")
        if (self.base.width, self.base.depth) != (WidthTarget(), DepthTarget()):
            raise InputError("SearchConfig.base: its width and depth are what is searched; leave them alone")
        for name in ("calibration_sequences", "seq_len", "finalists", "max_rounds"):
            check_range(self, name, 1)
        first = self.distill.seed
        if first <= self.calibration_seed < first + self.max_rounds:
            raise InputError(f"SearchConfig.calibration_seed: {self.calibration_seed} is the seed of a distillation")
        if self.max_scored is not None:
            check_range(self, "max_scored", 1)
        check_range(self, "min_use", 0.0, 1.0)
        check_range(self, "stable_tau", -1.0, 1.0)
