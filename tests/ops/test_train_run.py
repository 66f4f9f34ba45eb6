"""Whole runs: what they leave, and that a kill at any moment leaves the same."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ops.train.loop
from model.checkpoint import load_checkpoint
from model.hybrid import HybridLM
from ops.data import TokenData
from ops.errors import InputError
from ops.identity import encode
from ops.train.config import TrainConfig, WSDConfig
from ops.train.loop import NonFiniteError
from ops.train.objective import CrossEntropy
from ops.train.run import run
from tests.ops.training_inputs import standard_library_texts, tiny_model, write_inputs, write_tokenizer
from tests.ops.training_kills import EXECUTION, children, contents, interrupt, kill_often, work

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def config(inputs):
    vocab_size = TokenData.open(inputs["training_set"][0], inputs["tokens"]).vocab_size
    return TrainConfig(
        model=tiny_model(vocab_size),
        schedule=WSDConfig(warmup_steps=2, decay_fraction=0.3),
        batch_size=4,
        seq_len=32,
        total_tokens=12 * 4 * 32,
        log_every_steps=2,
        validate_every_steps=5,
        keep_every_steps=3,
        keep_last=2,
        validation_sequences=6,
        sample_prompts=("Return the",),
        sample_tokens=5,
    )


@pytest.fixture(scope="module")
def undisturbed(config, inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    return out, run(config, inputs, out, EXECUTION)


def test_what_a_run_leaves(config, inputs, undisturbed):
    out, result = undisturbed
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "metrics.jsonl",
        "speed.jsonl",
        "curve.json",
        "spikes.json",
        "checkpoints",
        "result.json",
    }
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["step-00000006", "step-00000009"]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6, 8, 10, 12]
    assert [row["step"] for row in rows if "validation" in row] == [0, 5, 10, 12]
    assert all(check.passed for check in result.checks if check.blocking)
    assert result.volatile == ("speed.jsonl",)
    assert result.tokens == 12 * 4 * 32
    assert result.flops == result.tokens * 3 * config.model.flops_per_token(32)
    assert result.counts["parameters"] == config.model.num_params()
    assert result.summary["samples"][0]["prompt"] == "Return the"
    model = load_checkpoint(out)
    first = HybridLM.create(config.model, seed=config.seed)
    changed = [not torch.equal(a, b) for a, b in zip(model.parameters(), first.parameters(), strict=True)]
    assert all(changed)
    kept = load_checkpoint(out / "checkpoints" / "step-00000009")
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), kept.parameters(), strict=True)]
    assert all(moved)
    whole = {path.name for path in out.glob("*token*")} | {path.name for path in out.glob("*config.json")}
    assert {path.name for path in (out / "checkpoints" / "step-00000009").iterdir()} == {*whole, "model.safetensors"}


def test_a_finished_run_is_only_reported(config, inputs, undisturbed):
    out, result = undisturbed
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = run(config, inputs, out, EXECUTION)
    assert encode(again) == encode(result)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_a_kill_behind_the_result_leaves_no_state(config, inputs, undisturbed, tmp_path):
    """The result is written, the states are not yet gone: the next life only tidies up."""
    out = tmp_path / "out"
    shutil.copytree(undisturbed[0], out)
    left = out / "state" / "step-00000012"
    left.mkdir(parents=True)
    (left / "state.json").write_text("{}")
    run(config, inputs, out, EXECUTION)
    assert contents(out) == contents(undisturbed[0])
    assert not (out / "state").exists()


def test_losses_are_those_of_a_plain_loop(config, inputs, undisturbed):
    """torch.optim.AdamW and a loop of ten lines over the same batches."""
    data = TokenData.open(inputs["training_set"][0], inputs["tokens"])
    model = HybridLM.create(config.model, seed=config.seed)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = {}, {}
    for step in range(12):
        phase = 1 if step < 8 else 2  # the last 30 % of 12 steps, rounded: 4
        b = data.batch(phase=phase, step=step if phase == 1 else step - 8, batch_size=4, seq_len=32, seed=0)
        logits = model(torch.from_numpy(b.input_ids), seq_idx_BL=torch.from_numpy(b.seq_idx))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(b.labels).flatten())
        loss.backward()
        norms[step + 1] = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
        losses[step + 1] = loss.item()
        for group in optimizer.param_groups:
            group["lr"] = (
                3e-3 * min((step + 1) / 2, 1.0) if step < 8 else 3e-5 + 2.97e-3 * (1 - ((step - 7) / 4) ** 0.5)
            )
        optimizer.step()
        optimizer.zero_grad()
    rows = [json.loads(line) for line in (undisturbed[0] / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if "loss" in row:
            assert row["loss"] == pytest.approx(losses[row["step"]], rel=2e-5)
            assert row["grad_norm"] == pytest.approx(norms[row["step"]], rel=1e-3)


def test_micro_batches_change_rounding_alone(config, inputs, undisturbed, tmp_path):
    run(dataclasses.replace(config, micro_batch_size=1), inputs, tmp_path, EXECUTION)
    whole, parts = ((path / "metrics.jsonl").read_text().splitlines() for path in (undisturbed[0], tmp_path))
    for a, b in zip(map(json.loads, whole), map(json.loads, parts), strict=True):
        if "loss" in a:
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def test_packed_sequences_train_and_resume_alike(config, inputs, undisturbed, tmp_path):
    packed = dataclasses.replace(config, packing="best_fit")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    run(packed, inputs, whole, EXECUTION)
    assert kill_often("train", packed, inputs, killed, targets=(4, 9), seed=3) >= 1
    assert contents(killed) == contents(whole)
    assert (whole / "model.safetensors").read_bytes() != (undisturbed[0] / "model.safetensors").read_bytes()
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0]


def test_killed_at_random_moments_ends_with_the_same_bytes(config, inputs, undisturbed, tmp_path):
    kills = kill_often("train", config, inputs, tmp_path, targets=(0, 1, 3, 4, 7, 10, 11, 12), seed=1)
    assert kills >= 5
    assert contents(tmp_path) == contents(undisturbed[0])
    assert not [path for path in tmp_path.rglob(".*")]


def test_dying_at_every_kind_of_rename_ends_with_the_same_bytes(config, inputs, tmp_path):
    """States, their removal, the checkpoint's files, the result: each is a rename. Life n dies at its n-th rename."""
    short = dataclasses.replace(config, total_tokens=4 * 4 * 32)
    expected, out = tmp_path / "expected", tmp_path / "out"
    expected.mkdir()
    out.mkdir()
    run(short, inputs, expected, EXECUTION)
    deaths = 0
    while True:
        child = children().Process(target=work, args=("train", short, inputs, out, deaths))
        child.start()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == 9
        deaths += 1
    assert deaths >= 8
    assert contents(out) == contents(expected)
    assert not [path for path in out.rglob(".*")]


def test_a_state_of_another_run_is_refused(config, inputs, undisturbed, tmp_path, monkeypatch):
    interrupt(config, inputs, tmp_path, monkeypatch, after=3)
    with pytest.raises(InputError, match="another configuration"):
        run(dataclasses.replace(config, seed=1), inputs, tmp_path, EXECUTION)
    with pytest.raises(InputError, match="another configuration"):
        run(dataclasses.replace(config, seed=1), inputs, undisturbed[0], EXECUTION)


@pytest.mark.parametrize("name", ["model.safetensors", "exp_avg_sq.safetensors", "state.json"])
def test_a_damaged_state_is_named(config, inputs, tmp_path, monkeypatch, name):
    interrupt(config, inputs, tmp_path, monkeypatch, after=3)
    path = tmp_path / "state" / "step-00000003" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=name):
        run(config, inputs, tmp_path, EXECUTION)


def test_two_states_are_kept(config, inputs, tmp_path, monkeypatch):
    interrupt(config, inputs, tmp_path, monkeypatch, after=5)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["step-00000004", "step-00000005"]


def test_a_loss_that_is_no_number_stops_before_the_update(config, inputs, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(ops.train.loop, "SAVE_EVERY_S", 0.0)
    forward, calls = CrossEntropy.forward, 0

    def poisoned(self, *tensors):
        nonlocal calls
        calls += 1
        total, reported = forward(self, *tensors)
        return (total * float("nan"), reported) if calls == 4 else (total, reported)

    with monkeypatch.context() as patch:
        patch.setattr(CrossEntropy, "forward", poisoned)
        with pytest.raises(NonFiniteError) as caught:
            run(config, inputs, tmp_path, EXECUTION)
    data = TokenData.open(inputs["training_set"][0], inputs["tokens"])
    batch = data.batch(phase=1, step=3, batch_size=4, seq_len=32, seed=0)
    assert "step 3" in str(caught.value)
    assert all(name in str(caught.value) for row in batch.doc_ids for name in row)
    # Nothing was updated: going on from there gives the run that was never disturbed.
    run(config, inputs, tmp_path, EXECUTION)
    assert contents(tmp_path) == contents(undisturbed[0])


def test_inputs_that_do_not_fit(config, inputs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    vocab_size = config.model.vocab_size
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, vocab_size=vocab_size + 8))
    with pytest.raises(InputError, match=f"model {vocab_size + 8}, tokenizer {vocab_size}"):
        run(other, inputs, out, EXECUTION)
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, eos_token_id=1))
    with pytest.raises(InputError, match="eos_token_id"):
        run(other, inputs, out, EXECUTION)
    write_tokenizer(tmp_path / "other", ["another text, another tokenizer", *standard_library_texts()[:20]], vocab_size)
    with pytest.raises(InputError, match="is not the tokenizer that made the tokens"):
        run(config, {**inputs, "tokenizer": [tmp_path / "other"]}, out, EXECUTION)
    with pytest.raises(InputError, match="'tokenizer'"):
        run(config, {**inputs, "tokenizer": []}, out, EXECUTION)
    assert not list(out.iterdir())


def test_metrics_are_reported_while_it_runs(config, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(ops.train.loop, "REPORT_EVERY_S", 0.0)
    rows = []
    run(config, inputs, tmp_path, dataclasses.replace(EXECUTION, on_metrics=rows.append))
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert all(row["tokens_per_second"] > 0 for row in rows)


def test_two_processes_under_torchrun_train_as_one(config, inputs, undisturbed, tmp_path):
    """Same losses to 1e-6, one of them with micro-batches; process 0 alone writes."""
    (tmp_path / "config.json").write_text(json.dumps(encode(config)))
    flags = [f"--input={name}={path}" for name, paths in inputs.items() for path in paths]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "ops.train"]
    command += [*flags, f"--config={tmp_path / 'config.json'}", f"--out={tmp_path / 'out'}", "--threads=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    one = [json.loads(line) for line in (undisturbed[0] / "metrics.jsonl").read_text().splitlines()]
    two = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    for a, b in zip(one, two, strict=True):
        assert a["step"] == b["step"]
        if "loss" in a:
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-6)
        else:
            assert b["validation"]["loss"] == pytest.approx(a["validation"]["loss"], rel=1e-6)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in undisturbed[0].iterdir()}
