"""Tokenizers: exact, deterministic, loadable elsewhere."""

import functools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.errors import InputError
from ops.identity import decode, encode
from ops.stage import Execution
from ops.tokenizer import FromCheckpoint, Tekken, TokenizerConfig, TrainBPE
from ops.tokenizer.bpe import byte_level, train_bpe
from ops.tokenizer.config import LATEX_PATTERN
from ops.tokenizer.files import load_tokenizer
from ops.tokenizer.run import observe, run
from tests.ops.corpora import files_of, make_texts, text_corpus, write_corpus

ROOT = Path(__file__).parents[2]
SMALL = TokenizerConfig(source=TrainBPE(vocab_size=400))
load_once = functools.cache(load_tokenizer)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return text_corpus(tmp_path_factory.mktemp("corpus") / "corpus", make_texts(120))


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tokenizer")
    result = run(SMALL, {"corpus": [corpus]}, out, Execution())
    assert all(check.passed for check in result.checks)
    assert result.counts == {"vocabulary": 400}
    assert result.summary["bytes_per_token"] > 2
    return out


def pieces(text: str) -> list[str]:
    from tokenizers import models

    pre_tokenizer = byte_level(models.BPE(), LATEX_PATTERN).pre_tokenizer
    assert pre_tokenizer is not None
    return [text[start:end] for _, (start, end) in pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\frac{1}{2}", [r"\frac", "{", "1", "}{", "2", "}"]),
        (r"x = \alpha_{10}", ["x", " =", r" \alpha", "_{", "1", "0", "}"]),
        (r"(\sin x)", ["(", r"\sin", " x", ")"]),
        (r"a\\b \, c", ["a", r"\\", "b", r" \,", " c"]),
        (r"\\\hline", [r"\\", r"\hline"]),
        ("in 2024.\n\nNext", ["in", " ", "2", "0", "2", "4", ".\n\n", "Next"]),
        ("if x:\n    return", ["if", " x", ":\n", "   ", " return"]),
        ("$$E=mc^2$$", ["$$", "E", "=", "mc", "^", "2", "$$"]),
        ("naïve 数学", ["naïve", " 数学"]),
        ("end  ", ["end", "  "]),
    ],
)
def test_text_is_cut_as_latex_reads(text, expected) -> None:
    assert pieces(text) == expected


@given(st.text(max_size=60))
@settings(max_examples=150)
def test_pieces_lose_nothing_and_digits_stand_alone(text) -> None:
    found = pieces(text)
    assert "".join(found) == text
    assert all(len(piece) == 1 for piece in found if any(c.isdecimal() for c in piece))


def test_no_token_holds_two_digits(trained) -> None:
    names = load_tokenizer(trained).tokenizer.get_vocab()
    assert not [name for name in names if sum(c.isdigit() for c in name) > 1]


@given(st.text(max_size=80) | st.sampled_from(["<|endoftext|>", "a<|pad|>b", "\\frac{<|endoftext|>}"]))
@settings(max_examples=200)
def test_encoding_is_exact_and_special_tokens_in_text_are_text(trained, text) -> None:
    loaded = load_once(trained)
    ids = loaded.tokenizer.encode(text, add_special_tokens=False).ids
    assert loaded.tokenizer.decode(ids, skip_special_tokens=False) == text
    assert all(2 <= token < loaded.vocab_size for token in ids)


def test_transformers_loads_it_and_agrees(trained) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(trained)
    ours = load_tokenizer(trained)
    assert (theirs.eos_token_id, theirs.bos_token_id, theirs.pad_token_id) == (ours.eod_id, 0, 1)
    assert ours.eod_id == 0
    assert len(theirs) == ours.vocab_size == 400
    for text in [*make_texts(20, seed=5), " leading", "a  b , c .", ""]:
        ids = theirs(text).input_ids
        assert ids == ours.tokenizer.encode(text, add_special_tokens=False).ids
        assert theirs.decode(ids) == text


def test_training_depends_neither_on_threads_nor_on_parts_nor_on_their_order(trained, corpus, tmp_path) -> None:
    expected = (trained / "tokenizer.json").read_bytes()
    texts = make_texts(120)
    random.Random(3).shuffle(texts)
    other = write_corpus(tmp_path / "none", [[]])
    shuffled = text_corpus(tmp_path / "shuffled", texts, num_parts=5)
    for threads, corpora in (("1", [corpus]), ("2", [corpus]), ("2", [other, shuffled])):
        out = tmp_path / f"out-{threads}-{len(corpora)}"
        command = [
            sys.executable,
            "-m",
            "ops.tokenizer",
            "--out",
            str(out),
            "--source",
            json.dumps(encode(SMALL.source)),
        ]
        for path in corpora:
            command += ["--input", f"corpus={path}"]
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, timeout=100)
        assert (out / "tokenizer.json").read_bytes() == expected


def test_a_corpus_that_is_too_small_is_said_to_be(tmp_path) -> None:
    corpus = text_corpus(tmp_path / "corpus", make_texts(5))
    result = run(TokenizerConfig(source=TrainBPE(vocab_size=4096)), {"corpus": [corpus]}, tmp_path / "out", Execution())
    (check,) = [check for check in result.checks if check.name == "vocabulary_full"]
    assert not check.passed
    assert not check.blocking
    assert check.metadata["got"] == result.counts["vocabulary"] < 4096


def test_a_corpus_without_text_is_refused(tmp_path) -> None:
    corpus = write_corpus(tmp_path / "corpus", [[], []])
    with pytest.raises(InputError, match="too little text"):
        run(SMALL, {"corpus": [corpus]}, tmp_path / "out", Execution())
    with pytest.raises(InputError, match="corpus"):
        run(SMALL, {}, tmp_path / "out", Execution())


def test_a_sample_of_the_documents_is_trained_on(corpus, tmp_path) -> None:
    def vocabulary(fraction: float, name: str) -> bytes:
        config = TokenizerConfig(source=TrainBPE(vocab_size=400, sample_fraction=fraction))
        run(config, {"corpus": [corpus]}, tmp_path / name, Execution())
        return (tmp_path / name / "tokenizer.json").read_bytes()

    assert vocabulary(0.2, "a") == vocabulary(0.2, "b") != vocabulary(1.0, "c")


@pytest.mark.parametrize(
    ("name", "value"), [("vocab_size", 258), ("min_frequency", 0), ("sample_fraction", 0.0), ("pattern", "")]
)
def test_bad_settings_are_named(name, value) -> None:
    with pytest.raises(InputError, match=name):
        TrainBPE(**{name: value})


def test_a_bad_pattern_is_named() -> None:
    with pytest.raises(InputError, match="pattern: not a regular expression"):
        train_bpe(TrainBPE(pattern="(["), [["text"]])


@pytest.mark.parametrize("source", [TrainBPE(vocab_size=300), Tekken(), FromCheckpoint()])
def test_the_config_survives_its_encoding(source) -> None:
    config = TokenizerConfig(source=source)
    assert decode(TokenizerConfig, encode(config)) == config


def test_a_checkpoint_gives_its_tokenizer(trained, tmp_path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name, data in files_of(trained).items():
        (checkpoint / name).write_bytes(data)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    config = TokenizerConfig(source=FromCheckpoint())
    execution = Execution(source=str(checkpoint))
    before = observe(config, execution)
    result = run(config, {}, tmp_path / "out", execution)
    assert files_of(tmp_path / "out") == files_of(trained)
    assert result.counts == {"vocabulary": 400}
    (checkpoint / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|pad|>"}}')
    assert observe(config, execution) != before
    run(config, {}, tmp_path / "other", execution)
    assert load_tokenizer(tmp_path / "other").eod_id == 1
    (checkpoint / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InputError, match="eos_token null is not in the vocabulary"):
        run(config, {}, tmp_path / "third", execution)
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"holds no tokenizer\.json"):
        run(config, {}, tmp_path / "fourth", execution)
    with pytest.raises(InputError, match=r"execution\.source"):
        run(config, {}, tmp_path / "fifth", Execution())


def test_a_file_that_is_no_tokenizer_is_named(trained, tmp_path) -> None:
    for name, data in files_of(trained).items():
        (tmp_path / name).write_bytes(data[:1000])
    with pytest.raises(InputError, match=r"tokenizer\.json: not a tokenizer"):
        load_tokenizer(tmp_path)


def test_help_names_the_inputs() -> None:
    for package in ("ops.tokenizer", "ops.tokenize", "ops.training_set"):
        done = subprocess.run(
            [sys.executable, "-m", package, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=200, check=True
        )
        assert "--input NAME=DIR" in done.stdout
