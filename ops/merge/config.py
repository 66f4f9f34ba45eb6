"""Which checkpoints are averaged, and with what coefficients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ops.errors import InputError
from ops.train.config import check_range

Weights = Literal["minus_sqrt", "uniform", "ema"]


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """A window of checkpoints `every_steps` apart, the newest after `last_step` updates.

    In the stable phase of a schedule the average stands for a model whose learning rate has decayed (WSM, arXiv
    2507.17634); Nemotron 3 Super and Ultra took windows of 125 to 500 B tokens.
    """

    num_checkpoints: int = 4
    every_steps: int
    last_step: int | None = None
    """None: the end of the run."""

    weights: Weights = "minus_sqrt"
    """`minus_sqrt`: an update counts as much as if the learning rate had fallen by 1 - sqrt(progress) over the window,
    as in Megatron-LM's `weighted_merge`; `uniform`: all checkpoints alike, which stands for a linear decay; `ema`: an
    exponential moving average that begins with the oldest."""

    ema_decay: float = 0.9
    """Of `ema`: the weight of the average so far when a checkpoint is taken in."""

    def __post_init__(self) -> None:
        check_range(self, "num_checkpoints", 1)
        check_range(self, "every_steps", 1)
        check_range(self, "ema_decay", 0.0, 1.0 - 1e-9)
        if self.weights not in get_args(Weights):
            raise InputError(f"MergeConfig.weights: {self.weights!r} is not one of {list(get_args(Weights))}")
        if self.last_step is not None:
            check_range(self, "last_step", 1 + (self.num_checkpoints - 1) * self.every_steps)

    def steps(self, end: int) -> list[int]:
        """The steps that are merged, ascending, of a run that ends after `end` of them.

        Raises:
            InputError: when the window does not lie within the run.
        """
        last = end if self.last_step is None else self.last_step
        first = last - (self.num_checkpoints - 1) * self.every_steps
        if last > end or first < 1:
            raise InputError(
                f"MergeConfig: {self.num_checkpoints} checkpoints {self.every_steps} steps apart up to step {last} do "
                f"not lie within the {end} steps of the run"
            )
        return [first + index * self.every_steps for index in range(self.num_checkpoints)]

    def coefficients(self) -> list[float]:
        """The weight of each checkpoint, the oldest first; they add up to 1."""
        count, decay = self.num_checkpoints, self.ema_decay
        if self.weights == "uniform":
            return [1 / count] * count
        if self.weights == "ema":
            return [(1.0 - decay if index else 1.0) * decay ** (count - 1 - index) for index in range(count)]
        # An update between checkpoints k - 1 and k is in all from k on: their weights sum to 1 - sqrt(k / count).
        return [math.sqrt((index + 1) / count) - math.sqrt(index / count) for index in range(count)]


def check_kept(config: MergeConfig, kept: Sequence[int], end: int) -> None:
    """Raise InputError that names the steps which are to be merged and were not kept (the last is always there)."""
    missing = [step for step in config.steps(end) if step != end and step not in kept]
    if missing:
        there = ", ".join(map(str, kept)) or "none"
        raise InputError(
            f"MergeConfig: the weights after steps {', '.join(map(str, missing))} were not kept; there are those of "
            f"{there} and of the end, {end}. Set keep_every_steps of the run"
        )
