"""The order of documents: a permutation of its own in every epoch, and slices of the stream that it makes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.data.order import DocumentStream, keyed_permutation
from tests.ops.data_order import splitmix_order


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    seed=st.integers(-3, 3),
    start=st.integers(0, 900),
    length=st.integers(1, 90),
)
@settings(max_examples=150)
def test_segments_are_a_slice_of_the_stream(lengths, seed, start, length) -> None:
    expected, epoch = [], 0
    while len(expected) < start + length:
        for document in splitmix_order(len(lengths), seed, epoch):
            expected += [(document, offset) for offset in range(lengths[document])]
        epoch += 1
    stream = DocumentStream(np.array(lengths), seed)
    found = [
        (segment.document, segment.offset + i)
        for segment in stream.segments(start, length)
        for i in range(segment.length)
    ]
    assert found == expected[start : start + length]


def test_the_permutation_spreads_and_differs_by_seed_and_epoch() -> None:
    count = 1000
    orders = {(seed, epoch): keyed_permutation(count, seed, epoch) for seed in (0, 1) for epoch in (0, 1)}
    for order in orders.values():
        assert sorted(order.tolist()) == list(range(count))
        assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.15
    assert len({tuple(order.tolist()) for order in orders.values()}) == 4


def test_the_permutation_is_pinned_for_ever() -> None:
    assert keyed_permutation(8, 0, 0).tolist() == splitmix_order(8, 0, 0)
    assert keyed_permutation(5, 7, 3).tolist() == splitmix_order(5, 7, 3)
