"""Paired comparisons of small samples: Student's t, Holm's adjustment, and what may be said.

Needs the standard library alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["supported", "contradicted", "unresolved"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One statement "`better` is better than `worse`" and the evidence: a difference per replicate, above 0 in favour.

    `power` says whether the experiment could have shown anything: what is compared must matter.
    """

    name: str
    better: str
    worse: str
    differences: tuple[float, ...]
    unit: str = "nats per token"
    powered: bool = True
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        return sum(self.differences) / len(self.differences)

    def standard_error(self) -> float:
        """Of the mean of the differences."""
        n, mean = len(self.differences), self.mean
        return math.sqrt(sum((value - mean) ** 2 for value in self.differences) / (n - 1) / n)

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided t interval of the mean difference."""
        half = t_quantile(0.5 + confidence / 2, len(self.differences) - 1) * self.standard_error()
        return self.mean - half, self.mean + half

    def p_value(self) -> float:
        """Two-sided, of a mean difference of 0 (paired t test). Differences that are all alike have no spread to judge
        by: 0 where they are not 0, else 1."""
        error = self.standard_error()
        if error == 0:
            return float(self.mean == 0)
        return 2 * (1 - t_cdf(abs(self.mean) / error, len(self.differences) - 1))


def outcome(comparison: Comparison, adjusted_p: float, confidence: float) -> Outcome:
    """What may be said of a comparison whose p-value is adjusted for all that were made."""
    if not comparison.powered or adjusted_p > 1 - confidence:
        return "unresolved"
    return "supported" if comparison.mean > 0 else "contradicted"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def t_cdf(t: float, df: int) -> float:
    """Student's distribution for whole degrees of freedom, by the finite sums of Abramowitz and Stegun 26.7.3-4."""
    theta = math.atan(t / math.sqrt(df))
    sine, cosine = math.sin(theta), math.cos(theta)
    if df % 2:
        term, total = cosine, cosine if df > 1 else 0.0
        for k in range(3, df - 1, 2):
            term *= (k - 1) / k * cosine * cosine
            total += term
        area = 2 / math.pi * (theta + sine * total)
    else:
        term, total = 1.0, 1.0
        for k in range(2, df - 1, 2):
            term *= (k - 1) / k * cosine * cosine
            total += term
        area = sine * total
    return 0.5 + area / 2


def t_quantile(p: float, df: int) -> float:
    """The inverse of `t_cdf` for p in (0.5, 1), by bisection to the last bit."""
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p:
        high *= 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return high
