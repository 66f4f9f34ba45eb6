"""Spikes of the training loss: steps that stand out of those before them, and the documents that they read.

A loss is a spike when it is more than `Z` robust standard deviations (1.4826 times the median absolute deviation)
above the median of the `WINDOW` steps before. Medians and not means: one spike does not hide the next. The losses of
the window are part of a run's state, so that a resumed run finds the same spikes.
"""

from collections.abc import Sequence
from statistics import median

WINDOW = 64
LEAST = 16
"""Steps that must lie behind before any is judged."""

Z = 6.0
FLOOR = 2e-3
"""Least standard deviation, as a share of the median: a loss that hardly moves has no spikes of a thousandth."""


class SpikeDetector:
    """Judges each step's loss by those before it."""

    def __init__(self, recent: Sequence[float] = ()) -> None:
        self.recent = list(recent)

    def judge(self, loss: float) -> float | None:
        """How many robust standard deviations the loss is above the median, if it is a spike; remembers the loss."""
        score = None
        if len(self.recent) >= LEAST:
            middle = median(self.recent)
            spread = 1.4826 * median(abs(value - middle) for value in self.recent)
            z = (loss - middle) / max(spread, FLOOR * abs(middle), 1e-12)
            score = z if z > Z else None
        self.recent = [*self.recent[1 - WINDOW :], loss]
        return score
