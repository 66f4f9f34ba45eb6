"""Batches against a plain list of all tokens, written out."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.data import TokenData
from ops.data.megatron import index_bytes, token_dtype
from ops.errors import InputError
from ops.stage import Execution
from ops.training_set import TrainingSetConfig
from ops.training_set.run import run as run_training_set
from tests.ops.data_order import splitmix_order
from tests.ops.token_shards import EOD, make_document, read_megatron, write_shard

LENGTHS = [1, 5, 17, 2, 40, 3, 9, 28, 6, 11, 2, 33, 7, 14, 1, 8, 19, 4, 23, 12]


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> tuple[Path, list[Path]]:
    """Two shards of 40 documents from two sources, every third of them only in phase 1."""
    root = tmp_path_factory.mktemp("data")
    for shard in range(2):
        write_shard(
            root / f"tokens-{shard}",
            [
                make_document(100 * shard + i, length, source=f"{'ab'[i % 2]}.example", score=3 if i % 3 == 0 else 5)
                for i, length in enumerate(LENGTHS)
            ],
            first_id=1000 * shard,
        )
    directories = [root / "tokens-0", root / "tokens-1"]
    out = root / "training_set"
    out.mkdir()
    config = TrainingSetConfig(validation_fraction=0.2, min_validation_documents_per_source=2)
    result = run_training_set(config, {"tokens": directories}, out, Execution())
    assert all(check.passed for check in result.checks)
    return out, directories


@pytest.fixture(scope="module")
def data(paths) -> TokenData:
    return TokenData.open(*paths, verify=True)


def documents_of(paths: tuple[Path, list[Path]], split: str, phase: int | None = None) -> list[tuple[str, list[int]]]:
    """(doc_id, tokens) of a split in table order, read by other means."""
    import polars as pl

    training_set, directories = paths
    table = pl.read_parquet(training_set / "documents.parquet").filter(pl.col("split") == split)
    if phase is not None:
        table = table.filter(pl.col("phases") & phase > 0)
    payloads = [np.frombuffer((path / "tokens.bin").read_bytes(), "<u2") for path in directories]
    return [
        (
            row["doc_id"],
            payloads[row["shard"]][row["token_start"] : row["token_start"] + row["token_length"]].tolist(),
        )
        for row in table.iter_rows(named=True)
    ]


def written_out(documents: list[tuple[str, list[int]]], seed: int, epochs: int) -> list[tuple[int, str, int]]:
    """The stream as (token, doc_id, number of the document in the stream)."""
    stream = []
    number = 0
    for epoch in range(epochs):
        for at in splitmix_order(len(documents), seed, epoch):
            doc_id, tokens = documents[at]
            stream += [(token, doc_id, number) for token in tokens]
            number += 1
    return stream


def expect_row(stream: list[tuple[int, str, int]], start: int, seq_len: int):
    window = stream[start : start + seq_len + 1]
    numbers = sorted({number for _, _, number in window[:seq_len]})
    input_ids = [token for token, _, _ in window[:seq_len]]
    labels = [b[0] if a[2] == b[2] else -100 for a, b in itertools.pairwise(window)]
    seq_idx = [numbers.index(number) for _, _, number in window[:seq_len]]
    doc_ids = [next(doc_id for _, doc_id, n in window if n == number) for number in numbers]
    return input_ids, labels, seq_idx, doc_ids


@pytest.mark.parametrize("phase", [1, 2])
@pytest.mark.parametrize(("batch_size", "seq_len", "seed"), [(4, 16, 0), (3, 7, 1), (1, 300, -5), (2, 1, 9)])
def test_batches_are_windows_of_the_written_out_stream(paths, data, phase, batch_size, seq_len, seed) -> None:
    documents = documents_of(paths, "train", phase)
    stream = written_out(documents, seed, epochs=8)
    steps = len(stream) // (batch_size * seq_len) - 1
    for step in {0, 1, steps // 2, steps - 1}:
        batch = data.batch(phase=phase, step=step, batch_size=batch_size, seq_len=seq_len, seed=seed)
        assert (batch.input_ids.dtype, batch.labels.dtype, batch.seq_idx.dtype) == (np.int64, np.int64, np.int32)
        for i in range(batch_size):
            input_ids, labels, seq_idx, doc_ids = expect_row(stream, (step * batch_size + i) * seq_len, seq_len)
            assert batch.input_ids[i].tolist() == input_ids
            assert batch.labels[i].tolist() == labels
            assert batch.seq_idx[i].tolist() == seq_idx
            assert batch.doc_ids[i] == doc_ids


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_the_global_batch_does_not_depend_on_the_number_of_processes(data, world_size) -> None:
    arguments: dict[str, Any] = {"phase": 1, "step": 11, "batch_size": 6, "seq_len": 13, "seed": 4}
    whole = data.batch(**arguments)
    ranks = [data.batch(**arguments, rank=rank, world_size=world_size) for rank in range(world_size)]
    for name in ("input_ids", "labels", "seq_idx"):
        np.testing.assert_array_equal(np.concatenate([getattr(rank, name) for rank in ranks]), getattr(whole, name))
    assert [row for rank in ranks for row in rank.doc_ids] == whole.doc_ids


def test_batches_do_not_depend_on_what_was_asked_before(paths, data) -> None:
    arguments: dict[str, Any] = {"phase": 1, "step": 9, "batch_size": 4, "seq_len": 32, "seed": 0}
    for step in (40, 3, 25):  # other epochs, backwards
        data.batch(**{**arguments, "step": step})
    fresh = TokenData.open(*paths).batch(**arguments)
    np.testing.assert_array_equal(data.batch(**arguments).input_ids, fresh.input_ids)


def test_every_training_token_comes_once_an_epoch(paths, data) -> None:
    total = data.num_tokens("train", 1)
    documents = documents_of(paths, "train", 1)
    assert total == sum(len(tokens) for _, tokens in documents)
    rows = data.batch(phase=1, step=0, batch_size=total, seq_len=1, seed=2)
    assert sorted(rows.input_ids[:, 0].tolist()) == sorted(token for _, tokens in documents for token in tokens)
    assert sorted(rows.labels[rows.labels >= 0].tolist()) == sorted(t for _, tokens in documents for t in tokens[1:])
    second = data.batch(phase=1, step=1, batch_size=total, seq_len=1, seed=2)
    assert sorted(second.input_ids[:, 0].tolist()) == sorted(rows.input_ids[:, 0].tolist())
    assert second.input_ids.tolist() != rows.input_ids.tolist()


@pytest.mark.parametrize(("batch_size", "seq_len"), [(1, 1), (3, 8), (2, 1000)])
@pytest.mark.parametrize("source", [None, "a.example", "b.example"])
def test_validation_covers_every_token_once(paths, data, batch_size, seq_len, source) -> None:
    wanted = sorted(
        token
        for (doc_id, tokens) in documents_of(paths, "validation")
        for token in tokens
        if source is None or "ab"[int(doc_id, 16) % 2] == source[0]
    )
    inputs, labels = [], []
    for batch in data.validation_batches(batch_size=batch_size, seq_len=seq_len, source=source):
        assert batch.input_ids.shape[0] <= batch_size
        assert batch.input_ids.shape[1] == seq_len
        for row in range(len(batch.input_ids)):
            real = batch.seq_idx[row] < len(batch.doc_ids[row])
            assert (batch.labels[row][~real] == -100).all()
            assert (batch.input_ids[row][~real] == EOD).all()
            inputs += batch.input_ids[row][real].tolist()
            labels += batch.labels[row][batch.labels[row] >= 0].tolist()
    assert sorted(inputs) == wanted
    firsts = [
        tokens[0]
        for doc_id, tokens in documents_of(paths, "validation")
        if source is None or "ab"[int(doc_id, 16) % 2] == source[0]
    ]
    assert sorted(labels + firsts) == wanted


def test_validation_stops_at_max_tokens(data) -> None:
    whole = np.concatenate([b.input_ids.ravel() for b in data.validation_batches(batch_size=2, seq_len=5)])
    batches = list(data.validation_batches(batch_size=2, seq_len=5, max_tokens=23))
    real = np.concatenate(
        [b.input_ids[i][b.seq_idx[i] < len(b.doc_ids[i])] for b in batches for i in range(len(b.input_ids))]
    )
    assert real.tolist() == whole[:23].tolist()


def test_splits_share_no_document_and_sources_are_named(paths, data) -> None:
    train = {doc_id for doc_id, _ in documents_of(paths, "train")}
    validation = {doc_id for doc_id, _ in documents_of(paths, "validation")}
    assert not train & validation
    assert len(train) + len(validation) == 2 * len(LENGTHS)
    assert data.sources("train") == data.sources("validation") == ["a.example", "b.example"]
    by_source = [data.num_bytes("validation", source=source) for source in data.sources("validation")]
    assert sum(by_source) == data.num_bytes("validation")
    assert data.num_bytes("validation") == 3 * (data.num_tokens("validation") - len(validation))


def test_a_token_of_training_leads_back_to_its_page(data) -> None:
    arguments: dict[str, Any] = {"phase": 1, "batch_size": 4, "seq_len": 16, "seed": 3}
    for step in range(12):
        batch = data.batch(step=step, **arguments)
        for sample, position in ((0, 0), (1, 15), (3, 7)):
            found = data.trace(step=step, sample=sample, position=position, **arguments)
            assert found["token_id"] == batch.input_ids[sample, position]
            assert found["doc_id"] == batch.doc_ids[sample][batch.seq_idx[sample, position]]
            assert found["token_in_shard"] == found["token_start"] + found["offset_in_document"]
            assert 0 <= found["offset_in_document"] < found["token_length"]
            assert found["warc_record_offset"] == int(found["doc_id"], 16) * 1000


@given(lengths=st.lists(st.integers(0, 50), max_size=20), wide=st.booleans())
@settings(max_examples=50)
def test_an_independent_reader_reads_the_index(tmp_path_factory, lengths, wide) -> None:
    directory = tmp_path_factory.mktemp("megatron")
    dtype = token_dtype(131072 if wide else 4096)
    assert dtype.name == ("int32" if wide else "uint16")
    documents = [[(i * 31 + j) % 4000 + 60000 * wide for j in range(n)] for i, n in enumerate(lengths)]
    (directory / "tokens.bin").write_bytes(np.array([t for d in documents for t in d], dtype).tobytes())
    (directory / "tokens.idx").write_bytes(index_bytes(np.array(lengths, dtype=np.int64), dtype))
    assert (directory / "tokens.idx").stat().st_size == 42 + 20 * len(lengths)
    assert read_megatron(directory) == documents


def test_bad_shards_are_named(paths, tmp_path) -> None:
    training_set, directories = paths
    with pytest.raises(InputError, match="shard 1"):
        TokenData.open(training_set, directories[:1])
    with pytest.raises(InputError, match=r"holds no tokens\.json"):
        TokenData.open(training_set, [directories[0], tmp_path])
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        TokenData.open(tmp_path, directories)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in directories[1].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    payload = bytearray((copy / "tokens.bin").read_bytes())
    (copy / "tokens.bin").write_bytes(payload[:-2])
    with pytest.raises(InputError, match=r"tokens\.bin: has \d+ bytes"):
        TokenData.open(training_set, [directories[0], copy])
    payload[10] ^= 1
    (copy / "tokens.bin").write_bytes(payload)
    TokenData.open(training_set, [directories[0], copy])
    with pytest.raises(InputError, match="SHA-256"):
        TokenData.open(training_set, [directories[0], copy], verify=True)


def test_shards_may_come_in_any_order(paths, data) -> None:
    training_set, directories = paths
    arguments: dict[str, Any] = {"phase": 1, "step": 5, "batch_size": 2, "seq_len": 50, "seed": 0}
    other = TokenData.open(training_set, directories[::-1]).batch(**arguments)
    np.testing.assert_array_equal(other.input_ids, data.batch(**arguments).input_ids)


def test_bad_questions_are_refused(data) -> None:
    arguments: dict[str, Any] = {"phase": 1, "step": 0, "batch_size": 4, "seq_len": 8, "seed": 0}
    for wrong, message in (
        ({"phase": 3}, "phase 3"),
        ({"step": -1}, "step=-1"),
        ({"world_size": 3}, "does not divide"),
        ({"rank": 1}, "rank=1"),
    ):
        with pytest.raises(InputError, match=message):
            data.batch(**{**arguments, **wrong})
    with pytest.raises(InputError, match="no source"):
        next(data.validation_batches(batch_size=1, seq_len=8, source="c.example"))
    with pytest.raises(InputError, match="split"):
        data.num_tokens("test")


def test_training_reads_with_numpy_alone(paths) -> None:
    """On a machine that only trains there is no pyarrow, polars or torch."""
    training_set, directories = paths
    code = f"""
import sys
for name in ("pyarrow", "polars", "torch", "dagster", "tokenizers"):
    sys.modules[name] = None
from pathlib import Path
from ops.data import TokenData
data = TokenData.open(Path({str(training_set)!r}), [Path(p) for p in {[str(p) for p in directories]!r}])
data.batch(phase=1, step=0, batch_size=2, seq_len=8, seed=0)
next(data.validation_batches(batch_size=2, seq_len=8))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200, cwd=Path(__file__).parents[2])
