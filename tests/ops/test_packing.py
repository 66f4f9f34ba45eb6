"""Best-fit packing and weights of sources: against the algorithm written out, and by what must stay the same."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.data import TokenData
from ops.data.batch import IGNORED
from ops.data.order import DocumentStream, copies
from ops.data.packing import PackedStream, best_fit
from ops.errors import InputError
from ops.stage import Execution
from ops.training_set import SourceWeight, TrainingSetConfig
from ops.training_set.run import run as run_training_set
from tests.ops.token_shards import EOD, make_document, write_shard

LENGTHS = [1, 5, 17, 2, 40, 3, 9, 28, 6, 11, 2, 33, 7, 14, 1, 8, 19, 4, 23, 12]


def written_out(lengths: list[int], capacity: int) -> list[int]:
    """Best fit decreasing, one piece at a time; the room left in each row."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [number for number, room in enumerate(rooms) if room >= length]
        if fitting:
            best = min(fitting, key=rooms.__getitem__)
            rooms[best] -= length
        else:
            rooms.append(capacity - length)
    return rooms


@given(capacity=st.integers(1, 40), data=st.data())
@settings(max_examples=300)
def test_best_fit_is_best_fit_decreasing(capacity: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, capacity), max_size=60))
    rows = best_fit(np.array(lengths, np.int64), capacity)
    filled = Counter[int]()
    for row, length in zip(rows.tolist(), lengths, strict=True):
        filled[row] += length
    expected = written_out(lengths, capacity)
    assert sorted(capacity - tokens for tokens in filled.values()) == sorted(expected)
    assert sorted(filled) == list(range(len(expected)))


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    capacity=st.integers(1, 30),
    seed=st.integers(-2, 2),
    weighted=st.booleans(),
)
@settings(max_examples=100)
def test_an_epoch_of_rows_holds_every_token_and_cuts_no_document_that_fits(lengths, capacity, seed, weighted) -> None:
    weights = np.array([(0.5, 1.0, 2.25)[number % 3] for number in range(len(lengths))]) if weighted else None
    stream = DocumentStream(np.array(lengths), seed, weights)
    packed = PackedStream(stream, capacity)
    number = 0
    for epoch in range(3):
        pieces: Counter[tuple[int, int, int]] = Counter()
        while packed.locate(number)[0] == epoch:
            row = packed.row(number)
            assert 0 < sum(segment.length for segment in row) <= capacity
            pieces.update((segment.document, segment.offset, segment.length) for segment in row)
            number += 1
        expected: Counter[tuple[int, int, int]] = Counter()
        for document in stream.documents_of(epoch).tolist():
            length = lengths[document]
            expected.update((document, at, min(capacity, length - at)) for at in range(0, length, capacity))
        assert pieces == expected


def test_weights_say_how_often_a_document_comes() -> None:
    weights = np.array([0.0, 0.25, 1.0, 1.5, 3.0] * 200)
    counts = np.stack([copies(weights, 7, epoch) for epoch in range(200)])
    np.testing.assert_allclose(counts.mean(0), weights, atol=0.15)
    assert (np.floor(weights) <= counts).all()
    assert (counts <= np.ceil(weights)).all()
    assert len({tuple(row) for row in counts.tolist()}) == 200
    stream = DocumentStream(np.full(1000, 3), 7, weights)
    assert np.bincount(stream.documents_of(5), minlength=1000).tolist() == copies(weights, 7, 5).tolist()


@given(start=st.integers(0, 400), length=st.integers(1, 90))
@settings(max_examples=60)
def test_a_weighted_stream_is_its_epochs_end_to_end(start: int, length: int) -> None:
    lengths, weights = np.array([5, 3, 9, 1, 4]), np.array([0.5, 2.0, 1.0, 0.0, 0.7])
    expected: list[tuple[int, int]] = []
    epoch = 0
    while len(expected) < start + length:
        for document in DocumentStream(lengths, 3, weights).documents_of(epoch).tolist():
            expected += [(document, offset) for offset in range(int(lengths[document]))]
        epoch += 1
    found = [
        (segment.document, segment.offset + i)
        for segment in DocumentStream(lengths, 3, weights).segments(start, length)
        for i in range(segment.length)
    ]
    assert found == expected[start : start + length]


def training_set(root: Path, config: TrainingSetConfig) -> tuple[Path, list[Path]]:
    shard = root / "tokens"
    write_shard(
        shard,
        [
            make_document(number, length, source=f"{'ab'[number % 2]}.example", score=5)
            for number, length in enumerate(LENGTHS * 2)
        ],
    )
    out = root / "training_set"
    out.mkdir()
    result = run_training_set(config, {"tokens": [shard]}, out, Execution())
    assert all(check.passed for check in result.checks)
    return out, [shard]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TokenData:
    config = TrainingSetConfig(validation_fraction=0.2, min_validation_documents_per_source=2)
    return TokenData.open(*training_set(tmp_path_factory.mktemp("packed"), config))


@pytest.mark.parametrize("seq_len", [16, 64])
def test_packed_batches_hold_an_epoch_once_and_pad_with_what_is_never_learnt(data: TokenData, seq_len: int) -> None:
    arguments = {"phase": 1, "batch_size": 1, "seq_len": seq_len, "seed": 4, "packing": "best_fit"}
    tokens = learnt = padding = step = 0
    while data.trace(**arguments, step=step, sample=0, position=0)["epoch"] == 0:
        batch = data.batch(**arguments, step=step)
        real = int((batch.seq_idx[0] < len(batch.doc_ids[0])).sum())
        assert (batch.seq_idx[0, :real] < len(batch.doc_ids[0])).all()
        assert (batch.input_ids[0, real:] == EOD).all()
        assert (batch.labels[0, real:] == IGNORED).all()
        for position in range(0, real, 5):
            found = data.trace(**arguments, step=step, sample=0, position=position)
            assert found["token_id"] == batch.input_ids[0, position]
            assert found["doc_id"] == batch.doc_ids[0][batch.seq_idx[0, position]]
        if real < seq_len:
            with pytest.raises(InputError, match="padding"):
                data.trace(**arguments, step=step, sample=0, position=seq_len - 1)
        tokens, learnt, padding = (
            tokens + real,
            learnt + int((batch.labels[0] != IGNORED).sum()),
            padding + seq_len - real,
        )
        step += 1
    assert tokens == data.num_tokens("train", 1)
    assert padding < 0.1 * tokens
    # Every token but the first of each document is a label.
    num_documents = len({*np.concatenate([data.batch(**arguments, step=s).doc_ids[0] for s in range(step)])})
    assert learnt == tokens - num_documents


def test_packed_batches_do_not_depend_on_the_number_of_processes(data: TokenData) -> None:
    arguments = {"phase": 1, "step": 3, "batch_size": 4, "seq_len": 24, "seed": 1, "packing": "best_fit"}
    whole = data.batch(**arguments)
    ranks = [data.batch(**arguments, rank=rank, world_size=4) for rank in range(4)]
    np.testing.assert_array_equal(whole.input_ids, np.concatenate([batch.input_ids for batch in ranks]))
    np.testing.assert_array_equal(whole.labels, np.concatenate([batch.labels for batch in ranks]))


@pytest.mark.parametrize("packing", ["stream", "best_fit"])
def test_the_mixture_of_a_training_set_reaches_its_batches(tmp_path: Path, packing: str) -> None:
    mixture = (SourceWeight(pattern="a.*", weight=3), SourceWeight(pattern="*", weight=0))
    paths = training_set(tmp_path, TrainingSetConfig(validation_fraction=0.2, mixture=mixture))
    data = TokenData.open(*paths)
    arguments = {"phase": 1, "batch_size": 1, "seq_len": 40, "seed": 0, "packing": packing}
    seen: Counter[str] = Counter()
    for step in range(12):
        batch = data.batch(**arguments, step=step)
        for position in range(int((batch.seq_idx[0] < len(batch.doc_ids[0])).sum())):
            seen[data.trace(**arguments, step=step, sample=0, position=position)["source"]] += 1
    assert set(seen) == {"a.example"}
    assert data.sources("validation") == ["a.example", "b.example"]


def test_a_mixture_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    config = TrainingSetConfig(validation_fraction=0.2, mixture=(SourceWeight(pattern="*", weight=0),))
    data = TokenData.open(*training_set(tmp_path, config))
    with pytest.raises(InputError, match="weight 0"):
        data.batch(phase=1, step=0, batch_size=1, seq_len=8, seed=0)
    with pytest.raises(InputError, match="mixture"):
        SourceWeight(pattern="x", weight=-1)
    with pytest.raises(InputError, match="packing"):
        data.batch(phase=1, step=0, batch_size=1, seq_len=8, seed=0, packing="none")
