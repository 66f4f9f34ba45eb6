"""Token shards, read back by the description of their format; resumed after a kill at any place; traced to pages."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

import ops.tokenize.run as stage
from ops.errors import InputError
from ops.stage import Execution
from ops.tokenize import TokenizeConfig
from ops.tokenize.encode import source_of
from ops.tokenize.native import library
from ops.tokenize.run import run
from ops.tokenizer import TokenizerConfig, TrainBPE
from ops.tokenizer.run import run as run_tokenizer
from tests.ops.corpora import corpus_row, files_of, write_corpus
from tests.ops.token_shards import read_megatron
from tests.ops.tokenize_inputs import EMPTY, TEXTS, failed

ROOT = Path(__file__).parents[2]
NUM_PARTS = 4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, list[Path]]:
    root = tmp_path_factory.mktemp("inputs")
    rows = [corpus_row(number, text) for number, text in enumerate(TEXTS)]
    parts = [rows[:40], [], rows[40:41], rows[41:]]
    assert len(parts) == NUM_PARTS
    corpus = write_corpus(root / "corpus", parts)
    tokenizer = root / "tokenizer"
    tokenizer.mkdir()
    run_tokenizer(TokenizerConfig(source=TrainBPE(vocab_size=400)), {"corpus": [corpus]}, tokenizer, Execution())
    return {"corpus": [corpus], "tokenizer": [tokenizer]}


@pytest.fixture(scope="module")
def shard(inputs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shard")
    result = run(TokenizeConfig(), inputs, out, Execution())
    assert all(check.passed for check in result.checks)
    assert result.counts["in"] == len(TEXTS)
    assert result.counts["out"] == len(TEXTS) - len(EMPTY)
    assert result.dropped == {"no_tokens": len(EMPTY)}
    return out


def test_the_index_of_datatrove_cuts_the_same_payload_into_the_same_documents(shard) -> None:
    """As `datatrove.utils.dataset.DatatroveFileDataset` reads it: raw ids and the ends of documents as uint64."""
    ends = np.fromfile(shard / "tokens.bin.index", "<u8")
    payload = np.fromfile(shard / "tokens.bin", "<u2")
    documents = [ids.tolist() for ids in np.split(payload, ends.astype(np.int64)[:-1])]
    assert documents == [list(map(int, ids)) for ids in read_megatron(shard)]
    name, tokens, shown = (shard / "tokens.bin.metadata").read_text().split("\n")
    assert (name.partition("|")[2], int(tokens)) == ("2", len(payload))
    assert shown.endswith("T")


def test_an_independent_reader_gives_back_every_text(inputs, shard) -> None:
    tokenizer = Tokenizer.from_file(str(inputs["tokenizer"][0] / "tokenizer.json"))
    documents = read_megatron(shard)
    assert all(document[-1] == 0 and 0 not in document[:-1] for document in documents)
    decoded = [tokenizer.decode(document[:-1], skip_special_tokens=False) for document in documents]
    assert decoded == [text for text in TEXTS if text]
    assert max(max(document) for document in documents) < 400


def test_the_table_leads_to_every_document(inputs, shard) -> None:
    table = pl.read_parquet(shard / "documents.parquet")
    documents = read_megatron(shard)
    payload = np.frombuffer((shard / "tokens.bin").read_bytes(), "<u2")
    assert len(table) == len(documents)
    corpus = pl.read_parquet(inputs["corpus"][0] / "part-*.parquet").filter(pl.col("text") != "")
    for row, document, page in zip(table.iter_rows(named=True), documents, corpus.iter_rows(named=True), strict=True):
        assert payload[row["token_start"] :][: row["token_length"]].tolist() == document
        assert row["text_bytes"] == len(page["text"].encode())
        assert row["source"] == f"www.site-{int(row['doc_id'], 16) % 3}.example"
        for name in ("doc_id", "url", "crawl", "warc_filename", "warc_record_offset", "warc_record_length", "title"):
            assert row[name] == page[name]
        for name in ("language", "math_score", "math_int_score", "cluster_id", "cleaner"):
            assert row[name] == page[name]


def test_the_description_fits_the_payload(inputs, shard) -> None:
    meta = json.loads((shard / "tokens.json").read_text())
    payload = (shard / "tokens.bin").read_bytes()
    tokenizer = (inputs["tokenizer"][0] / "tokenizer.json").read_bytes()
    assert meta == {
        "dtype": "uint16",
        "num_tokens": len(payload) // 2,
        "num_documents": len(TEXTS) - len(EMPTY),
        "sha256": hashlib.sha256(payload).hexdigest(),
        "vocab_size": 400,
        "eod_id": 0,
        "tokenizer_sha256": hashlib.sha256(tokenizer).hexdigest(),
    }
    assert sorted(path.name for path in shard.iterdir()) == [
        "documents.parquet",
        "dropped",
        "marks",
        "tokens.bin",
        "tokens.bin.index",
        "tokens.bin.metadata",
        "tokens.idx",
        "tokens.json",
    ]


def test_dropped_documents_are_listed(shard) -> None:
    rows = pl.read_parquet(shard / "dropped" / "part-*.parquet").to_dicts()
    assert [(row["doc_id"], row["stage"], row["reason"]) for row in rows] == [
        (f"{number:016x}", "tokenize", "no_tokens") for number in EMPTY
    ]


class Killed(BaseException):
    pass


def killing(function, *, at: int, after: bool):
    calls = 0

    def wrapped(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls == at and not after:
            raise Killed
        result = function(*arguments, **keywords)
        if calls == at:
            raise Killed
        return result

    return wrapped


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("place", "at"),
    [
        ("write_part", 1),
        ("write_part", 3),
        ("write_part", 4),
        ("_join_tables", 1),
        ("write_bytes", 1),
        ("write_json", 1),
        ("totals", 1),
    ],
)
def test_a_killed_run_ends_with_the_same_bytes(inputs, shard, tmp_path, monkeypatch, place, at, after) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stage, place, killing(getattr(stage, place), at=at, after=after))
        with pytest.raises(Killed):
            run(TokenizeConfig(), inputs, tmp_path, Execution())
    encoded: list[str] = []
    encode_part = stage.encode_part
    monkeypatch.setattr(
        stage, "encode_part", lambda path, *a, **k: encoded.append(path.stem) or encode_part(path, *a, **k)
    )
    result = run(TokenizeConfig(), inputs, tmp_path, Execution())
    assert files_of(tmp_path) == files_of(shard)
    assert not failed(result)
    done = (at if after else at - 1) if place == "write_part" else NUM_PARTS
    assert len(encoded) == NUM_PARTS - done


def test_a_run_killed_while_pieces_are_removed_goes_on(inputs, shard, tmp_path, monkeypatch) -> None:
    unlink = Path.unlink

    def killing_unlink(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path.name == "part-00002.bin":
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killing_unlink)
        with pytest.raises(Killed):
            run(TokenizeConfig(), inputs, tmp_path, Execution())
    run(TokenizeConfig(), inputs, tmp_path, Execution())
    assert files_of(tmp_path) == files_of(shard)


def test_a_finished_run_is_not_done_again(inputs, shard, monkeypatch) -> None:
    monkeypatch.setattr(stage, "write_part", None)
    before = files_of(shard)
    result = run(TokenizeConfig(), inputs, shard, Execution())
    assert files_of(shard) == before
    assert result.counts["out"] == len(TEXTS) - len(EMPTY)


def test_how_documents_are_grouped_changes_nothing(inputs, shard, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("ops.tokenize.encode.CHUNK_CHARACTERS", 1000)
    monkeypatch.setattr(stage, "COPY_BYTES", 6)  # the checks read three tokens at a time
    assert not failed(run(TokenizeConfig(), inputs, tmp_path, Execution()))
    for name in ("tokens.bin", "tokens.idx", "tokens.json"):
        assert (tmp_path / name).read_bytes() == (shard / name).read_bytes()
    assert pq.read_table(tmp_path / "documents.parquet") == pq.read_table(shard / "documents.parquet")


def test_without_a_compiler_the_bytes_are_the_same(inputs, shard, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("ops.tokenize.encode.library", library.__wrapped__)
    with pytest.warns(UserWarning, match="no-such-compiler"):
        run(TokenizeConfig(), inputs, tmp_path, Execution())
    assert files_of(tmp_path) == files_of(shard)


def test_what_was_changed_behind_its_back_is_caught(inputs, shard, tmp_path) -> None:
    for name, data in files_of(shard).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    payload = bytearray((tmp_path / "tokens.bin").read_bytes())
    (tmp_path / "tokens.bin").write_bytes(payload[:-4])
    assert "lengths_add_up" in failed(run(TokenizeConfig(), inputs, tmp_path, Execution()))
    payload[0:2] = (9999).to_bytes(2, "little")
    (tmp_path / "tokens.bin").write_bytes(payload)
    assert set(failed(run(TokenizeConfig(), inputs, tmp_path, Execution()))) == {"ids_in_vocabulary"}
    payload[-2:] = (5).to_bytes(2, "little")
    (tmp_path / "tokens.bin").write_bytes(payload)
    assert set(failed(run(TokenizeConfig(), inputs, tmp_path, Execution()))) == {
        "ids_in_vocabulary",
        "eod_ends_documents",
    }


def test_an_empty_corpus_gives_an_empty_shard(inputs, tmp_path) -> None:
    corpus = write_corpus(tmp_path / "corpus", [[]])
    out = tmp_path / "out"
    result = run(TokenizeConfig(), {**inputs, "corpus": [corpus]}, out, Execution())
    assert not failed(result)
    assert result.counts == {"in": 0, "out": 0, "tokens": 0, "text_bytes": 0}
    assert read_megatron(out) == []


def test_what_cannot_be_read_is_named(inputs, tmp_path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    with pytest.raises(InputError, match=r"holds no part-\*\.parquet"):
        run(TokenizeConfig(), {**inputs, "corpus": [corpus]}, tmp_path / "a", Execution())
    (corpus / "part-00000.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"part-00000\.parquet: not a readable Parquet file"):
        run(TokenizeConfig(), {**inputs, "corpus": [corpus]}, tmp_path / "b", Execution())
    with pytest.raises(InputError, match=r"holds no tokenizer\.json"):
        run(TokenizeConfig(), {**inputs, "tokenizer": [corpus]}, tmp_path / "c", Execution())
    with pytest.raises(InputError, match="round_trip_documents"):
        TokenizeConfig(round_trip_documents=0)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Math.Example.org:8080/a?b", "math.example.org"),
        ("http://[bad/x", "(no host)"),
        ("mailto:someone", "(no host)"),
        ("", "(no host)"),
    ],
)
def test_the_source_is_the_host(url, host) -> None:
    assert source_of(url) == host


def trace(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ops.tokenize", "trace", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


def test_a_token_is_traced_to_its_page(inputs, shard) -> None:
    documents = read_megatron(shard)
    starts = np.cumsum([0, *map(len, documents)])
    number = 50
    token = int(starts[number]) + 4
    done = trace("--tokens", str(shard), "--token", str(token), "--tokenizer", str(inputs["tokenizer"][0]))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    text = [text for text in TEXTS if text][number]
    page = TEXTS.index(text)
    assert found["url"] == f"https://www.site-{page % 3}.example/page/{page}"
    assert found["warc_record_offset"] == 1000 * page
    assert (found["offset_in_document"], found["token_id"]) == (4, documents[number][4])
    assert text.startswith(found["text_before"] + found["text"])
    assert found["text_after"].removesuffix("<|endoftext|>") in text


def test_a_token_that_is_not_there_is_refused(shard) -> None:
    done = trace("--tokens", str(shard), "--token", "999999999")
    assert done.returncode == 1
    assert "there is no token 999999999" in done.stderr
