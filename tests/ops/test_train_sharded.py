"""Sharded training: two processes with their rows of the weights each do what one process does."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ops.train.loop
from model.checkpoint import load_checkpoint, save_checkpoint
from model.hybrid import HybridLM
from ops.atomic import write_json
from ops.data import TokenData
from ops.distill.config import DistillConfig
from ops.distill.run import run as distill
from ops.identity import encode
from ops.stage import Execution
from ops.train.config import AdamWConfig, RunConfig, TrainConfig, WSDConfig
from ops.train.run import run as train
from tests.ops.sharded_worker import perform
from tests.ops.training_inputs import tiny_model, write_inputs

ROOT = Path(__file__).parents[2]
EXPERTS = {
    "n_routed_experts": 5,  # neither experts nor heads divide into two equal shares
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 24,
    "num_nextn_predict_layers": 1,
}


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def two_processes(folder: Path, calls: list[dict]) -> subprocess.CompletedProcess[str]:
    write_json(folder / "calls.json", calls)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.ops.sharded_worker", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=200)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """All that two processes do in these tests, in a start of torchrun that is killed and one that is not, and the same
    by one process."""
    folder = tmp_path_factory.mktemp("sharded")
    inputs = write_inputs(folder / "inputs_of_all")
    vocab_size = TokenData.open(inputs["training_set"][0], inputs["tokens"]).vocab_size
    run = {
        "batch_size": 4,
        "micro_batch_size": 1,
        "seq_len": 32,
        "total_tokens": 6 * 4 * 32,
        "log_every_steps": 1,
        "validate_every_steps": 3,
        "keep_every_steps": 4,
        "validation_sequences": 4,
        "sample_prompts": (),
        "activation_checkpointing": True,
    }
    config = TrainConfig(
        model=replace(tiny_model(vocab_size), pattern="ME*-", mamba_num_heads=6, **EXPERTS),
        optimizer=AdamWConfig(peak_lr=3e-3, clip_norm=0.5),
        schedule=WSDConfig(warmup_steps=2, decay_fraction=0.3),
        router_bias_rate=0.01,
        **run,
    )
    small = replace(tiny_model(vocab_size), d_model=24, tie_word_embeddings=True)
    save_checkpoint(HybridLM.create(small, seed=1), folder / "student")
    save_checkpoint(HybridLM.create(tiny_model(vocab_size), seed=2), folder / "teacher")
    distil = DistillConfig(schedule=WSDConfig(warmup_steps=1), **run)
    more = {**inputs, "student": [folder / "student"], "teacher": [folder / "teacher"]}

    def call(stage, out, *, config: RunConfig = config, inputs=inputs, interrupt=None):
        kind = type(config)
        return {
            "package": f"ops.{stage}",
            "config_class": f"{kind.__module__}:{kind.__qualname__}",
            "config": encode(config),
            "inputs": {name: [str(path) for path in paths] for name, paths in inputs.items()},
            "out": str(folder / out),
            "parallel": "fsdp",
            "interrupt": interrupt,
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops.train.loop, "SAVE_EVERY_S", 0.0)
        perform(call("train", "1_then_2", interrupt=3))
        killed = two_processes(
            folder, [{**call("train", "killed"), "die_before": 8}]
        )  # the last file of the third state
        assert "Signal 9 (SIGKILL)" in killed.stderr, killed.stderr
        states = sorted(path.name for path in (folder / "killed" / "state").iterdir())
        assert states == [".step-00000003.partial", "step-00000001", "step-00000002"]
        calls = [
            call("train", "two"),
            call("train", "killed"),
            call("train", "1_then_2"),
            call("train", "2_then_1", interrupt=3),
            call("distill", "distilled", config=distil, inputs=more),
        ]
        process = two_processes(folder, calls)
        assert process.returncode == 0, process.stderr
        train(config, inputs, folder / "2_then_1", Execution(threads=1))
        for name in ("one", "distilled_one"):
            (folder / name).mkdir()
        train(config, inputs, folder / "one", Execution(threads=1))
        distill(distil, more, folder / "distilled_one", Execution(threads=1))
    return folder


@pytest.mark.parametrize(
    ("whole", "sharded"),
    [("one", "two"), ("one", "1_then_2"), ("one", "2_then_1"), ("distilled_one", "distilled")],
)
def test_losses_and_weights_are_those_of_one_process(done, whole, sharded):
    one, two = metrics(done / whole), metrics(done / sharded)
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for a, b in zip(one, two, strict=True):
        if "validation" in a:
            assert b["validation"]["loss"] == pytest.approx(a["validation"]["loss"], rel=1e-6)
            continue
        # A KL is the small difference of larger terms, and rounds as they do.
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-6, abs=1e-7 if "distilled" in whole else 0.0)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-5)
    if whole == "one":
        assert min(row["grad_norm"] for row in one if "loss" in row) > 0.5  # every gradient was clipped
    assert {p.name for p in (done / whole).iterdir()} == {p.name for p in (done / sharded).iterdir()}
    for path in ("", "checkpoints/step-00000004"):
        mine, theirs = (load_checkpoint(done / name / path).state_dict() for name in (whole, sharded))
        for name, tensor in mine.items():
            torch.testing.assert_close(
                theirs[name], tensor, rtol=1e-4, atol=2e-5, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_a_process_killed_within_a_state_changes_no_bit(done):
    for path in ("model.safetensors", "metrics.jsonl", "checkpoints/step-00000004/model.safetensors"):
        assert (done / "killed" / path).read_bytes() == (done / "two" / path).read_bytes(), path
