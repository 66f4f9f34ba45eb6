"""How a search compares orders and points, against plain definitions."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.search.rank import better_half, kendall_tau
from ops.search.show import front


@given(st.permutations("abcdef"), st.permutations("abcdef"))
def test_kendall_tau(one: list[str], other: list[str]) -> None:
    places = np.array([other.index(item) for item in one])
    agreement = np.sign(places[:, None] - places) * np.sign(np.arange(6)[:, None] - np.arange(6))
    assert kendall_tau(one, other) == pytest.approx(agreement.sum() / 30)
    assert kendall_tau(one, one) == 1
    assert kendall_tau(one, one[::-1]) == -1


def test_orders_of_one_and_of_other_items() -> None:
    assert kendall_tau(["a"], ["a"]) == 1.0
    assert better_half("abcde") == ["a", "b", "c"]
    with pytest.raises(ValueError, match="orders of different items"):
        kendall_tau(["a"], ["b"])


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_the_front_is_what_nothing_beats(points: dict[str, tuple[int, int]]) -> None:
    found = front({name: (float(x), float(y)) for name, (x, y) in points.items()})
    for name in found:
        x, y = points[name]
        assert not any(p <= x and q <= y and (p, q) != (x, y) for p, q in points.values())
    for name, (x, y) in points.items():
        assert any(points[best][0] <= x and points[best][1] <= y for best in found), name
    assert all(points[a] != points[b] for a, b in combinations(found, 2))
