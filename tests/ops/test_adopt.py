"""Adopting a checkpoint: weights unchanged, anything incomplete or foreign refused by name."""

import json
import os
import shutil

import pytest
import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.hybrid import HybridLM
from ops.adopt.config import AdoptConfig
from ops.adopt.run import observe, run
from ops.errors import InputError
from ops.stage import Execution
from ops.train.vocabulary import tokenizer_files
from tests.ops.training_inputs import standard_library_texts, tiny_model, write_tokenizer

VOCAB_SIZE = 320


@pytest.fixture
def source(tmp_path):
    write_tokenizer(tmp_path / "tokenizer", standard_library_texts(), VOCAB_SIZE)
    folder = tmp_path / "source"
    model = HybridLM.create(tiny_model(VOCAB_SIZE), seed=4)
    save_checkpoint(model, folder, tokenizer_files=tokenizer_files(tmp_path / "tokenizer"), max_shard_size=20_000)
    return folder


def adopt(source, out, **inputs):
    out.mkdir(exist_ok=True)
    return run(AdoptConfig(), inputs, out, Execution(source=str(source)))


def test_weights_and_tokenizer_are_unchanged(source, tmp_path):
    assert len(list(source.glob("*.safetensors"))) > 1  # adopted from shards, written as one file
    result = adopt(source, tmp_path / "out")
    assert all(check.passed for check in result.checks)
    before, after = load_checkpoint(source), load_checkpoint(tmp_path / "out")
    assert after.config == before.config
    for (name, a), (_, b) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


def test_bfloat16_weights_stay_so(source, tmp_path):
    model = load_checkpoint(source, dtype=torch.bfloat16)
    shutil.rmtree(source)
    save_checkpoint(model, source, tokenizer_files=tokenizer_files(tmp_path / "tokenizer"))
    adopt(source, tmp_path / "out")
    after = load_checkpoint(tmp_path / "out", dtype=torch.bfloat16)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert (tmp_path / "out" / "model.safetensors").stat().st_size == (source / "model.safetensors").stat().st_size
    for a, b in zip(model.parameters(), after.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_given_tokenizer_must_be_the_sources_own(source, tmp_path):
    assert adopt(source, tmp_path / "out", tokenizer=[tmp_path / "tokenizer"]).counts["parameters"] > 0
    other = [*standard_library_texts()[:10], "something else entirely"]
    write_tokenizer(tmp_path / "other", other, VOCAB_SIZE)
    with pytest.raises(InputError, match=r"is not the tokenizer .*other"):
        adopt(source, tmp_path / "out", tokenizer=[tmp_path / "other"])


def test_without_any_tokenizer(source, tmp_path):
    (source / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"holds no tokenizer\.json"):
        adopt(source, tmp_path / "out")


def test_what_is_no_checkpoint_is_refused(source, tmp_path):
    with pytest.raises(InputError, match="needs a source"):
        run(AdoptConfig(), {}, tmp_path, Execution())
    with pytest.raises(InputError, match=r"holds no config\.json"):
        adopt(tmp_path, tmp_path / "out")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "hidden_size": 40}))
    with pytest.raises(InputError, match="has shape"):
        adopt(source, tmp_path / "out")
    (source / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    with pytest.raises(InputError, match="model_type"):
        adopt(source, tmp_path / "out")


def test_observe_sees_a_change_of_any_file_that_is_read(source):
    execution = Execution(source=str(source))
    before = observe(AdoptConfig(), execution)
    assert {"config.json", "tokenizer.json"} < {name for name, _, _ in before}
    (source / "README.md").write_text("not read")
    assert observe(AdoptConfig(), execution) == before
    os.utime(source / "config.json", ns=(1, 1))
    assert observe(AdoptConfig(), execution) != before
