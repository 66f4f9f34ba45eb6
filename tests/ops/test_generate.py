"""Text generation: streams of text equal the text of the whole, stops wherever they lie, batches, errors."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from model.checkpoint import save_checkpoint
from model.generate import Sampling, generate
from model.hybrid import HybridLM
from ops.errors import InputError
from ops.generate.cli import main
from ops.generate.generator import TextGenerator
from ops.generate.text import Detokenizer, StopStrings, TextStream
from ops.train.vocabulary import tokenizer_files
from tests.ops.training_inputs import EOD, standard_library_texts, tiny_model, write_tokenizer

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ("Return a list", "Let α ∈ ℝ be", "x", "")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "t", standard_library_texts()[:60], 400)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A random network whose every next token is far from certain, with its tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_tokenizer(folder / "tokenizer", standard_library_texts()[:60], 400)
    config = replace(tiny_model(400, "M*-"), initializer_range=0.4)
    save_checkpoint(
        HybridLM.create(config, seed=1), folder / "c", tokenizer_files=tokenizer_files(folder / "tokenizer")
    )
    return folder / "c"


# ------------------------------------------------------------------------------------------- text


@settings(max_examples=150)
@given(ids=st.lists(st.integers(0, 399), max_size=30))
def test_pieces_of_any_tokens_are_the_text_of_all(tokenizer, ids):
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.feed(token) for token in ids]
    assert "".join(pieces) + detokenizer.flush() == tokenizer.decode(ids)


def test_a_character_comes_whole(tokenizer):
    ids = tokenizer.encode("∈").ids
    assert len(ids) == 3
    detokenizer = Detokenizer(tokenizer)
    assert [detokenizer.feed(token) for token in ids] == ["", "", "∈"]
    assert detokenizer.feed(ids[0]) == ""
    assert detokenizer.flush() == "�"


@settings(max_examples=300)
@given(
    pieces=st.lists(st.text("ab\n", max_size=4), max_size=8),
    stops=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3),
)
def test_stops_are_found_wherever_pieces_meet(pieces, stops):
    stream = StopStrings(stops)
    shown = "".join(stream.feed(piece) for piece in pieces) + stream.flush()
    whole = "".join(pieces)
    for end in range(len(whole) + 1):  # character by character: the first end of a stop string, the longest of these
        ending = [stop for stop in stops if whole[:end].endswith(stop)]
        if ending:
            assert stream.found
            assert shown == whole[: end - max(map(len, ending))]
            return
    assert not stream.found
    assert shown == whole


def test_text_is_shown_as_soon_as_it_is_certain():
    stream = StopStrings(["\n\n", "END"])
    assert [stream.feed(piece) for piece in ("a\n", "b", "E", "N", "Q", "\n", "\n", "c")] == [
        "a",
        "\nb",
        "",
        "",
        "ENQ",
        "",
        "",
        "",
    ]
    assert stream.found


def test_why_a_row_ended(tokenizer):
    ids = tokenizer.encode("one two").ids

    def run(tokens, stops=()):
        stream = TextStream(tokenizer, stops=stops, eos_token_id=EOD)
        text = "".join(stream.feed(token) for token in tokens) + stream.close()
        return text, stream.finished

    assert run(ids) == ("one two", "length")
    assert run([*ids, EOD, *ids]) == ("one two", "eos")
    assert run(ids, ["e t"]) == ("on", "stop")
    assert run([*ids, EOD], ["two!"]) == ("one two", "eos")


# ------------------------------------------------------------------------------------------- generator


def continuation(generator: TextGenerator, prompt: str, new: int, **options) -> str:
    """The same by `model.generate`, whole and alone."""
    ids = generator.tokenizer.encode(prompt, add_special_tokens=False).ids or [EOD]
    out = generate(generator.model, torch.tensor([ids]), max_new_tokens=new, eos_token_id=EOD, **options)
    made = out[0, len(ids) :].tolist()
    made = made[: made.index(EOD)] if EOD in made else made
    return generator.tokenizer.decode(made)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.2, top_k=50, seed=4)])
def test_a_batch_of_prompts_equals_each_alone(checkpoint, sampling):
    generator = TextGenerator.open(checkpoint)
    texts: list[str] = [""] * 4
    finished: list[str | None] = [None] * 4
    for piece in generator.stream(PROMPTS, max_new_tokens=40, sampling=sampling):
        assert finished[piece.row] is None
        texts[piece.row] += piece.text
        finished[piece.row] = piece.finished
    assert all(finished)
    assert len(set(texts)) == 4
    for row, prompt in enumerate(PROMPTS):
        assert texts[row] == continuation(generator, prompt, 40, sampling=sampling, streams=[row])


def test_stop_strings_end_a_row_and_not_the_others(checkpoint):
    generator = TextGenerator.open(checkpoint)
    whole = continuation(generator, PROMPTS[0], 40)
    stop = whole[7:12]
    assert stop in whole
    texts = ["", ""]
    for piece in generator.stream(PROMPTS[:2], max_new_tokens=40, stops=[stop]):
        texts[piece.row] += piece.text
    assert texts[0] == whole[: whole.index(stop)]
    other = continuation(generator, PROMPTS[1], 40)
    assert texts[1] == (other[: other.index(stop)] if stop in other else other)


def test_an_artefact_of_the_store_is_found(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "files" / "1")
    (tmp_path / "record.json").write_text(json.dumps({"files_at": "files/1"}))
    assert TextGenerator.open(tmp_path).model.config.vocab_size == 400


def test_errors_name_what_is_wrong(checkpoint, tmp_path):
    with pytest.raises(InputError, match="absent: no such directory"):
        TextGenerator.open(tmp_path / "absent")
    with pytest.raises(InputError, match=r"holds no config\.json"):
        TextGenerator.open(tmp_path)
    shutil.copytree(checkpoint, tmp_path / "c")
    (tmp_path / "c" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"c: holds no tokenizer\.json"):
        TextGenerator.open(tmp_path / "c")
    write_tokenizer(tmp_path / "other", ["some text"], 280)
    with pytest.raises(InputError, match=r"vocabularies differ in size: model 400, tokenizer 2\d\d"):
        TextGenerator.open(tmp_path / "c", tokenizer=tmp_path / "other")
    (tmp_path / "c" / "model.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
        TextGenerator.open(tmp_path / "c", tokenizer=checkpoint)


# ------------------------------------------------------------------------------------------- command


def test_command_streams_one_continuation(checkpoint):
    command = [sys.executable, "-m", "ops.generate", str(checkpoint), "--prompt", PROMPTS[1], "--max-new-tokens", "30"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == continuation(TextGenerator.open(checkpoint), PROMPTS[1], 30) + "\n"
    assert done.stderr == ""


def test_command_samples_several(checkpoint, tmp_path, capsys):
    (tmp_path / "prompt").write_text("Let α", encoding="utf-8")
    options = [
        "--prompt",
        "x",
        "--prompt-file",
        str(tmp_path / "prompt"),
        "--num-samples",
        "2",
        "--max-new-tokens",
        "9",
    ]
    options += ["--temperature", "1.5", "--top-p", "0.9", "--seed", "3", "--json", "--threads", "1"]
    assert main([str(checkpoint), *options]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prompt"] for row in rows] == ["x", "x", "Let α", "Let α"]
    assert {row["finished"] for row in rows} <= {"eos", "length"}
    generator, sampling = TextGenerator.open(checkpoint), Sampling(temperature=1.5, top_p=0.9, seed=3)
    expected = [continuation(generator, row["prompt"], 9, sampling=sampling, streams=[i]) for i, row in enumerate(rows)]
    assert [row["text"] for row in rows] == expected
    assert main([str(checkpoint), *[option for option in options if option != "--json"]]) == 0
    assert capsys.readouterr().out == "".join(
        f"--- {i + 1} of 4: {row['prompt']}\n{row['text']}\n" for i, row in enumerate(rows)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to continue"),
        (["--prompt-file", "absent"], "absent: cannot be read as a prompt"),
        (["--prompt", "x", "--top-p", "2"], "top_p must be in"),
        (["--prompt", "x", "--temperature", "nan"], "temperature must not be negative"),
        (["--prompt", "x", "--max-new-tokens", "0"], "--max-new-tokens: must be at least 1"),
        (["--prompt", "x", "--stop", ""], "stop: must not be empty"),
    ],
)
def test_command_refuses_wrong_options(checkpoint, options, message, capsys):
    assert main([str(checkpoint), "--threads", "1", *options]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("error: ")
