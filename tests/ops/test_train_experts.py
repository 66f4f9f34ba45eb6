"""Training networks with experts and multi-token prediction: losses, balance, precision, memory, resume."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from model.checkpoint import load_checkpoint
from model.hybrid import HybridLM
from model.moe import counting, routers
from ops.data import Batch, TokenData
from ops.data.batch import IGNORED
from ops.errors import InputError
from ops.identity import encode
from ops.stage import Execution
from ops.train.balance import balance
from ops.train.config import TrainConfig, WSDConfig
from ops.train.distributed import World
from ops.train.loop import Run, fit
from ops.train.objective import CrossEntropy, later_labels
from ops.train.run import run
from ops.train.state import newest_state, restore, save_state
from tests.model.common import LATENT_MOE, MOE, MTP, TINY, shake
from tests.model.test_hybrid import relative_error
from tests.ops.training_inputs import tiny_model, write_inputs

ROOT = Path(__file__).parents[2]
CPU = World(device=torch.device("cpu"))
EXPERTS = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 24,
    "num_nextn_predict_layers": 1,
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def config(inputs):
    vocab_size = TokenData.open(inputs["training_set"][0], inputs["tokens"]).vocab_size
    return TrainConfig(
        model=replace(tiny_model(vocab_size), pattern="ME*E", **EXPERTS),
        schedule=WSDConfig(warmup_steps=2, decay_fraction=0.3),
        batch_size=4,
        micro_batch_size=2,
        seq_len=32,
        total_tokens=8 * 4 * 32,
        log_every_steps=1,
        validate_every_steps=4,
        validation_sequences=4,
        sample_prompts=(),
    )


def packed_batch(seed: int = 0, rows: int = 2, length: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, labels (some ignored) and documents of packed rows."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(TINY.vocab_size, (rows, length + 1), generator=generator)
    seq_idx = (torch.rand(rows, length, generator=generator) < 0.1).long().cumsum(1)
    labels = ids[:, 1:].clone()
    labels[:, :-1][seq_idx[:, 1:] != seq_idx[:, :-1]] = IGNORED
    return ids[:, :-1], labels, seq_idx


def test_labels_of_further_tokens_stay_in_the_document():
    labels = torch.tensor([[10, 11, 12, 20, 21, IGNORED]])
    seq_idx = torch.tensor([[0, 0, 0, 1, 1, 1]])
    assert later_labels(labels, seq_idx, 1).tolist() == [[11, 12, IGNORED, 21, IGNORED, IGNORED]]
    assert later_labels(labels, seq_idx, 2).tolist() == [[12, *[IGNORED] * 5]]
    assert later_labels(labels, seq_idx, 9).tolist() == [[IGNORED] * 6]


def test_loss_with_further_predictions_is_that_of_whole_logits():
    model = shake(HybridLM.create(MTP, seed=0))
    ids, labels, seq_idx = packed_batch()
    total, reported = CrossEntropy(model, mtp_depths=2, mtp_loss_scale=0.4)(ids, labels, seq_idx)
    hidden = model.hidden_states(ids, seq_idx_BL=seq_idx)
    main = cross_entropy(model.lm_head(hidden).flatten(0, 1), labels.flatten(), reduction="sum")
    expected = main
    for depth, further in enumerate(model.mtp_hidden_states(hidden, ids, depths=2, seq_idx_BL=seq_idx), 1):
        losses = cross_entropy(
            model.lm_head(further)[:, :-depth].flatten(0, 1), labels[:, depth:].flatten(), reduction="none"
        ).view(2, -1)
        same = [[bool(row[i] == row[i + depth]) for i in range(40 - depth)] for row in seq_idx]
        expected = expected + 0.2 * losses[torch.tensor(same)].sum()
    assert reported.item() == pytest.approx(main.item(), rel=1e-6)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    mine, theirs = (torch.autograd.grad(value, list(model.parameters())) for value in (total, expected))
    for (name, _), a, b in zip(model.named_parameters(), mine, theirs, strict=True):
        assert relative_error(a, b) < 1e-4, name


@pytest.mark.parametrize("model_config", [TINY, MTP])
def test_gradients_with_activation_checkpointing_are_the_same_bits(model_config):
    batch = packed_batch()
    found = []
    for checkpointing in (False, True):
        model = shake(HybridLM.create(model_config, seed=0))
        model.backbone.activation_checkpointing = checkpointing
        with counting(model) as counts:
            total, _ = CrossEntropy(model)(*batch)
            total.backward()
        found.append((total, [parameter.grad for parameter in model.parameters()], list(counts.values())))
    for kept, recomputed in zip(*(a[1] for a in found), strict=True):
        assert kept is not None
        assert torch.equal(kept, recomputed)
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(a, b) for a, b in zip(found[0][2], found[1][2], strict=True))


def test_activation_checkpointing_keeps_less():
    """Bytes that autograd holds after a forward pass."""
    held = []
    for checkpointing in (False, True):
        model = HybridLM.create(replace(TINY, pattern="M-M-M-M-"), seed=0)
        model.backbone.activation_checkpointing = checkpointing
        own = {tensor.data_ptr() for tensor in model.state_dict().values()}
        seen: dict[int, int] = {}

        def pack(tensor, seen=seen, own=own):
            if tensor.untyped_storage().data_ptr() not in own:
                seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            hidden = model.hidden_states(packed_batch()[0])
        held.append(sum(seen.values()))
        del hidden
    assert held[1] < held[0] / 4


@pytest.mark.parametrize("model_config", [TINY, LATENT_MOE])
def test_bfloat16_is_near_float32_and_keeps_masters(model_config):
    model = HybridLM.create(model_config, seed=0)
    batch = packed_batch()
    losses = []
    for half in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            total, _ = CrossEntropy(model)(*batch)
        total.backward()
        losses.append(total.item())
        assert all(p.dtype == torch.float32 == p.grad.dtype for p in model.parameters() if p.grad is not None)
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_balance_moves_by_the_counts_of_all_processes():
    model = HybridLM.create(MOE, seed=0)
    counts = {name: torch.tensor([8, 0, 2, 2, 2, 2, 0, 0]) for name in routers(model)}

    class Doubled(World):
        def sum(self, values):
            return values + torch.tensor([0, 8, 0, 0, 0, 0, 4, 4])

    found = balance(model, counts, rate=0.5, world=Doubled(device=torch.device("cpu")))
    for router in routers(model).values():
        assert router.e_score_correction_bias.tolist() == [-0.5, -0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]
    assert found == {"max_violation": 1.0, "mean_violation": 1.0}
    assert balance(HybridLM.create(TINY, seed=0), {}, rate=0.5, world=CPU) == {}


def one_batch(config: TrainConfig) -> Batch:
    ids, labels, seq_idx = (array.numpy() for array in packed_batch(rows=4, length=32))
    limit = config.model.vocab_size
    labels = np.where(labels == IGNORED, IGNORED, labels % limit)
    return Batch(input_ids=ids % limit, labels=labels, seq_idx=seq_idx, doc_ids=[["d"]] * 4)


def test_training_balances_the_experts(config, tmp_path):
    """The same batch again and again, from routers that favour one expert."""
    config = replace(config, total_tokens=60 * 4 * 32, router_bias_rate=0.02, validate_every_steps=100)
    model = HybridLM.create(config.model, seed=0)
    for router in routers(model).values():
        router.e_score_correction_bias[0] = 0.3
    (tmp_path / "speed.jsonl").touch()
    fit(
        Run(
            config=config,
            identity="x",
            objective=CrossEntropy(model),
            batches=lambda step: one_batch(config),
            validate=lambda model: {"loss": 1.0},
            out=tmp_path,
            world=CPU,
        )
    )
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    training = [row for row in rows if "loss" in row]
    assert training[0]["max_violation"] > 2
    assert training[-1]["max_violation"] < 0.5
    assert training[-1]["loss"] < training[0]["loss"] - 0.5


def test_a_state_holds_the_biases(config, tmp_path):
    from ops.train.optimizer import AdamW

    model = shake(HybridLM.create(config.model, seed=0))
    save_state(tmp_path, identity="x", model=model, optimizer=AdamW(model, config.optimizer), notes={})
    other = HybridLM.create(config.model, seed=1)
    state = newest_state(tmp_path, identity="x")
    assert state is not None
    restore(state, model=other, optimizer=AdamW(other, config.optimizer))
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_a_killed_run_goes_on_to_the_same_bytes(config, inputs, tmp_path, monkeypatch):
    import ops.train.loop

    monkeypatch.setattr(ops.train.loop, "SAVE_EVERY_S", 0.0)
    execution = Execution(threads=1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    result = run(config, inputs, whole, execution)
    assert all(check.passed for check in result.checks if check.blocking)
    depths = config.mtp_depths
    assert result.flops == result.tokens * config.model.training_flops_per_token(32, mtp_depths=depths)

    class Stop:
        calls = 0

    original = ops.train.loop.balance

    def dying(*args, **kwargs):
        Stop.calls += 1
        if Stop.calls in (3, 7):
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(ops.train.loop, "balance", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(config, inputs, killed, execution)
    run(config, inputs, killed, execution)
    assert Stop.calls == 8 + 2
    for name in ("model.safetensors", "metrics.jsonl", "config.json"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    trained = load_checkpoint(whole)
    biases = [router.e_score_correction_bias for router in routers(trained).values()]
    assert len(biases) == 3  # two layers and that of multi-token prediction
    assert all(bool(bias.any()) for bias in biases)


def test_activation_checkpointing_changes_no_byte(config, inputs, tmp_path):
    files = []
    for name, checkpointing in (("a", False), ("b", True)):
        short = replace(config, total_tokens=2 * 4 * 32, activation_checkpointing=checkpointing)
        (tmp_path / name).mkdir()
        run(short, inputs, tmp_path / name, Execution(threads=1))
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "float16"}, "TrainConfig.precision: 'float16' is not float32 or bfloat16"),
        ({"router_bias_rate": -1.0}, "TrainConfig.router_bias_rate: must be at least"),
        ({"mtp_depths": 0}, "TrainConfig.mtp_depths: must be at least 1"),
        ({"mtp_loss_scale": 0.0}, "TrainConfig.mtp_loss_scale: must be above"),
    ],
)
def test_settings_out_of_range(config, change, message):
    with pytest.raises(InputError, match=message):
        replace(config, **change)


def test_two_processes_train_as_one(config, inputs, tmp_path):
    """Losses and the experts' shares: the routers' biases move by the tokens of both processes."""
    config = replace(config, total_tokens=6 * 4 * 32, router_bias_rate=0.01)
    (tmp_path / "config.json").write_text(json.dumps(encode(config)))
    flags = [f"--input={name}={path}" for name, paths in inputs.items() for path in paths]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "ops.train"]
    command += [*flags, f"--config={tmp_path / 'config.json'}", f"--out={tmp_path / 'two'}", "--threads=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    (tmp_path / "one").mkdir()
    run(config, inputs, tmp_path / "one", Execution(threads=1))
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    for a, b in zip(one, two, strict=True):
        if "loss" in a:
            for key in ("loss", "max_violation", "mean_violation"):
                assert b[key] == pytest.approx(a[key], rel=1e-5), key
    for (name, mine), router in zip(
        routers(load_checkpoint(tmp_path / "one")).items(),
        routers(load_checkpoint(tmp_path / "two")).values(),
        strict=True,
    ):
        assert torch.equal(mine.e_score_correction_bias, router.e_score_correction_bias), name
