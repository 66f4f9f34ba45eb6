"""Compiled layers: the same numbers but for rounding, whatever is killed and gone on with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ops.train.loop
from model.hybrid import HybridLM
from ops.data import Batch
from ops.errors import InputError
from ops.train import compiled
from ops.train.config import TrainConfig, WSDConfig
from ops.train.distributed import World
from ops.train.loop import Run, fit
from ops.train.objective import CrossEntropy
from tests.ops.training_inputs import tiny_model

CONFIG = TrainConfig(
    model=replace(
        tiny_model(64),
        pattern="ME-",
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        moe_shared_expert_intermediate_size=24,
    ),
    router_bias_rate=0.01,
    schedule=WSDConfig(warmup_steps=2),
    batch_size=4,
    micro_batch_size=2,
    seq_len=16,
    total_tokens=4 * 64,
    log_every_steps=1,
    validate_every_steps=4,
    activation_checkpointing=True,
)
WORLD = World(device=torch.device("cpu"))


def perform(out, *, die_at: int | None = None, **more) -> list[float]:
    """The losses of the steps that were done."""
    model, losses = HybridLM.create(CONFIG.model, seed=0), []

    def batches(step: int) -> Batch:
        if step == die_at:
            raise KeyboardInterrupt
        ids = np.random.default_rng(step).integers(0, 64, (4, 17))
        seq_idx = np.repeat([[0, 1]], 8, axis=1).repeat(4, axis=0).astype(np.int32)
        return Batch(input_ids=ids[:, :-1], labels=ids[:, 1:], seq_idx=seq_idx, doc_ids=[["a", "b"]] * 4)

    out.mkdir(exist_ok=True)
    run = Run(
        config=CONFIG,
        identity="x",
        objective=CrossEntropy(model),
        batches=batches,
        validate=lambda model: {"loss": 1.0},
        out=out,
        world=WORLD,
        watchers=[lambda step, row: losses.append(row["loss"]) if "loss" in row else None],
        **more,
    )
    fit(run)
    assert all(layer._compiled_call_impl is None for layer in model.backbone.layers)
    return losses


@pytest.mark.slow
def test_losses_are_those_of_layers_that_are_not_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    monkeypatch.setattr(compiled, "SHAPES", 1)  # no layer is compiled twice
    monkeypatch.setattr(ops.train.loop, "SAVE_EVERY_S", 0.0)
    whole = perform(tmp_path / "compiled", compiled=True)
    assert len(whole) == 4
    assert whole == pytest.approx(perform(tmp_path / "plain"), rel=1e-5)
    with pytest.raises(KeyboardInterrupt):
        perform(tmp_path / "killed", die_at=2, compiled=True)
    with pytest.raises(InputError, match="was made with compiled layers"):
        perform(tmp_path / "killed")
    perform(tmp_path / "killed", compiled=True)
    assert (tmp_path / "killed/metrics.jsonl").read_bytes() == (tmp_path / "compiled/metrics.jsonl").read_bytes()


def test_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"torch.compile cannot work here: no C\+\+ compiler \(no-such-compiler\)"):
        perform(tmp_path / "out", compiled=True)
