"""Early warning: whether a run's loss leaves the recorded curve of an earlier one.

The reference is the `metrics.jsonl` of an earlier record. It is execution: it warns and changes nothing.
"""

import logging
from bisect import bisect_left
from itertools import pairwise
from pathlib import Path

from ops.errors import InputError
from ops.train.metrics import METRICS, read_metrics

logger = logging.getLogger("stillhouse")

TOLERANCE = 0.05
"""How far, as a share of the reference, the smoothed loss may be above it."""

SMOOTHING = 0.9
"""Weight of the mean so far when a step is taken in; of both curves."""

PATIENCE = 10
"""Steps in a row that must be above before there is a warning."""


class Reference:
    """The smoothed training loss of an earlier run over tokens."""

    def __init__(self, place: str) -> None:
        """`place`: a metrics file, or the directory of a run.

        Raises:
            InputError: when there is none, or it holds no training loss.
        """
        path = Path(place)
        path = path / METRICS if path.is_dir() else path
        if not path.is_file():
            raise InputError(f"{path}: no such file; a reference is the {METRICS} of an earlier run")
        rows = [row for row in read_metrics(path) if "loss" in row]
        if not rows:
            raise InputError(f"{path}: holds no training loss")
        self.tokens = [int(row["tokens"]) for row in rows]
        self.losses: list[float] = []
        for row in rows:
            self.losses.append(_smoothed(self.losses[-1] if self.losses else None, float(row["loss"])))
        if any(a >= b for a, b in pairwise(self.tokens)):
            raise InputError(f"{path}: its tokens do not ascend")

    def at(self, tokens: int) -> float | None:
        """Its loss after so many tokens, on straight lines between its rows; None before its first, after its last."""
        index = bisect_left(self.tokens, tokens)
        if index == len(self.tokens) or tokens < self.tokens[0]:
            return None
        if self.tokens[index] == tokens:
            return self.losses[index]
        share = (tokens - self.tokens[index - 1]) / (self.tokens[index] - self.tokens[index - 1])
        return self.losses[index - 1] + share * (self.losses[index] - self.losses[index - 1])


class Divergence:
    """Compares a run with its reference, logged row by logged row."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._mean: float | None = None
        self._above = 0

    def judge(self, step: int, tokens: int, loss: float) -> float | None:
        """By what share the smoothed loss is above the reference, when it has been above for a while; that is logged as
        a warning once, until it comes back."""
        self._mean = _smoothed(self._mean, loss)
        expected = self.reference.at(tokens)
        if expected is None:
            return None
        excess = self._mean / expected - 1
        self._above = self._above + 1 if excess > TOLERANCE else 0
        if self._above == PATIENCE:
            logger.warning("step %d: the loss is %.1f%% above that of the reference run", step, 100 * excess)
        return excess if self._above >= PATIENCE else None


def _smoothed(mean: float | None, value: float) -> float:
    return value if mean is None else SMOOTHING * mean + (1 - SMOOTHING) * value
