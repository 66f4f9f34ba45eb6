"""Scores of a task and their intervals, by hand and against SciPy."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from ops.evaluate.metrics import ratio_interval, task_scores, wilson_interval


def test_scores_of_a_task_by_hand() -> None:
    def choice(doc_index: int, gold: bool, num_bytes: int, nats: float) -> dict[str, Any]:
        return {"doc_index": doc_index, "gold": gold, "num_bytes": num_bytes, "nats": nats}

    rows = [
        choice(4, False, 2, 3.0),  # likelier, but not per byte
        choice(4, True, 10, 5.0),
        choice(9, True, 4, 1.0),  # both ways
        choice(9, False, 4, 2.0),
        choice(9, False, 4, 9.0),
        choice(9, False, 4, 9.0),
    ]
    scores = task_scores("multiple_choice", rows, seed=0)
    assert scores["documents"] == 2
    assert scores["accuracy"] == 0.5
    assert scores["accuracy_per_byte"] == 1.0
    assert scores["random_accuracy"] == (1 / 2 + 1 / 4) / 2
    assert scores["bits_per_byte"] == pytest.approx(6 / 14 / math.log(2))
    low, high = scores["bits_per_byte_interval"]
    assert low == pytest.approx(1 / 4 / math.log(2))
    assert high == pytest.approx(5 / 10 / math.log(2))
    alone = task_scores("gold_likelihood", rows[1:3], seed=0)
    assert set(alone) == {"kind", "documents", "bits_per_byte", "bits_per_byte_interval"}


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (1, 3), (37, 100)])
def test_the_interval_is_wilsons(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_bootstrap_interval_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    low, high = ratio_interval(values.tolist(), [2.0] * 400, seed=1)
    error = values.std() / math.sqrt(400) / 2
    assert (high + low) / 2 == pytest.approx(values.mean() / 2, abs=error / 3)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert (low, high) == ratio_interval(values.tolist(), [2.0] * 400, seed=1)
