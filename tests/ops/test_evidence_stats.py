"""Small-sample statistics against SciPy and brute force."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.errors import InputError
from ops.evidence.claims.token_saving import steps_to
from ops.evidence.config import ClaimConfig, EvidenceConfig, TeachersConfig
from ops.evidence.lab import Curve
from ops.evidence.stats import Comparison, holm, outcome, t_cdf, t_quantile

stats = pytest.importorskip("scipy.stats", reason="SciPy is the reference")


def comparison(*differences: float, powered: bool = True) -> Comparison:
    return Comparison(name="a beats b", better="a", worse="b", differences=differences, powered=powered)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 6, 7, 15, 30, 61])
def test_students_distribution(df: int) -> None:
    for t in (0.0, 0.2, 1.0, 2.7, 11.0):
        assert t_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=1e-13)
    for p in (0.6, 0.95, 0.975, 0.9995):
        assert t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-10)


@given(st.lists(st.integers(-5000, 5000).map(lambda n: n / 1000), min_size=3, max_size=9, unique=True))
def test_paired_comparison(differences: list[float]) -> None:
    found, reference = comparison(*differences), stats.ttest_1samp(differences, 0.0)
    assert found.p_value() == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-9)
    low, high = reference.confidence_interval(0.95)
    assert found.interval(0.95) == pytest.approx((low, high), rel=1e-6, abs=1e-9)


def test_differences_without_spread() -> None:
    assert comparison(0.5, 0.5).p_value() == 0
    assert comparison(0.0, 0.0).p_value() == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if (len(p_values) - rank) * p_values[index] > alpha:
                break
            rejected.add(index)
        assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected


def test_outcomes_under_the_null_are_rarely_decided() -> None:
    """Of 400 experiments on noise about 5 % decide, half of them against the claim."""
    rng = random.Random(0)
    decided = []
    for _ in range(400):
        found = comparison(*(rng.gauss(0, 1) for _ in range(6)))
        decided.append(outcome(found, found.p_value(), 0.95))
    assert 8 <= decided.count("supported") + decided.count("contradicted") <= 36
    assert min(decided.count("supported"), decided.count("contradicted")) >= 1


def test_outcomes() -> None:
    assert outcome(comparison(1.0, 1.1, 0.9), 0.01, 0.95) == "supported"
    assert outcome(comparison(-1.0, -1.1, -0.9), 0.01, 0.95) == "contradicted"
    assert outcome(comparison(1.0, 1.1, 0.9), 0.06, 0.95) == "unresolved"
    assert outcome(comparison(1.0, 1.1, 0.9, powered=False), 0.01, 0.95) == "unresolved"


def test_steps_until_a_loss_is_reached() -> None:
    curve = Curve(losses={0: 9.0, 10: 5.0, 20: 4.0, 40: 3.0})
    assert steps_to(curve, 5.5) == 10
    assert steps_to(curve, 4.0) == pytest.approx(20)
    assert steps_to(curve, 3.5) == pytest.approx(20 * 2**0.5)
    assert steps_to(curve, 2.9) is None


@pytest.mark.parametrize(
    ("maker", "change", "message"),
    [
        (TeachersConfig, {"seeds": (1,)}, "seeds: needs at least two"),
        (TeachersConfig, {"seeds": (1, 1)}, "all different"),
        (EvidenceConfig, {"replicates": 1}, "replicates: must be at least 2"),
        (EvidenceConfig, {"keep": 0.0}, "keep: must be above 0"),
    ],
)
def test_configs_that_prove_nothing_are_refused(maker: type, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        maker(**change)


def test_unknown_claims_are_refused() -> None:
    with pytest.raises(InputError, match="'bigger' is not one of recipe"):
        ClaimConfig(evidence=EvidenceConfig(), claim="bigger")
