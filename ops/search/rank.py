"""Orders of candidates: how far two agree, and which candidates go on."""

from collections.abc import Sequence
from itertools import combinations


def kendall_tau(one: Sequence[str], other: Sequence[str]) -> float:
    """Kendall's tau of two orders of the same items: 1 when they agree, -1 when one is the reverse of the other.

    (Pairs in the same order less pairs in another) / pairs; 1 for a single item. Raises ValueError for other items.
    """
    place = {item: index for index, item in enumerate(other)}
    if set(one) != set(place) or len(one) != len(place):
        raise ValueError(f"orders of different items: {list(one)} and {list(other)}")
    pairs = list(combinations(one, 2))
    same = sum(place[first] < place[second] for first, second in pairs)
    return (2 * same - len(pairs)) / len(pairs) if pairs else 1.0


def better_half(order: Sequence[str]) -> list[str]:
    """The first half of an order, the larger one if it is odd."""
    return list(order[: -(-len(order) // 2)])
