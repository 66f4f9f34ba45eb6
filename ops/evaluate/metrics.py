"""From likelihoods to scores of a task, with intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Z_95 = 1.959963984540054
RESAMPLES = 1000


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    share, z2 = successes / trials, Z_95**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float], seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of sum / sum over documents: percentiles of `RESAMPLES` resamples."""
    generator = np.random.Generator(np.random.PCG64(seed))
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    ratios = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        drawn = generator.integers(len(above), size=len(above))
        ratios[index] = above[drawn].sum() / below[drawn].sum()
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def task_scores(kind: str, rows: Sequence[Mapping[str, Any]], *, seed: int) -> dict[str, Any]:
    """Scores of a task from its rows (doc_index, gold, num_bytes, nats), in the order of the choices.

    `bits_per_byte` of the right answers; for multiple choice `accuracy` (the likeliest choice is right), the same with
    likelihoods divided by bytes as `accuracy_per_byte`, and `random_accuracy`, what guessing gets. Of equal choices the
    first is taken.
    """
    documents: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        documents.setdefault(row["doc_index"], []).append(row)
    scores: dict[str, Any] = {"kind": kind, "documents": len(documents)}
    if not documents:
        return scores
    gold = [[row for row in choices if row["gold"]] for choices in documents.values()]
    bits = [sum(row["nats"] for row in right) / math.log(2) for right in gold]
    sizes = [sum(row["num_bytes"] for row in right) for right in gold]
    scores["bits_per_byte"] = sum(bits) / sum(sizes)
    scores["bits_per_byte_interval"] = list(ratio_interval(bits, sizes, seed))
    if kind == "multiple_choice":
        shares = [len(right) / len(choices) for right, choices in zip(gold, documents.values(), strict=True)]
        scores["random_accuracy"] = sum(shares) / len(shares)
        for name, divisor in (("accuracy", lambda row: 1), ("accuracy_per_byte", lambda row: row["num_bytes"])):
            best = [min(choices, key=lambda row: row["nats"] / divisor(row)) for choices in documents.values()]
            right = sum(row["gold"] for row in best)
            scores[name] = right / len(documents)
            scores[f"{name}_interval"] = list(wilson_interval(right, len(documents)))
    return scores
