"""What a run would take, against what it takes."""

from dataclasses import replace
from math import prod

import pytest
import torch

from model.hybrid import HybridLM
from ops.errors import InputError
from ops.train.config import TrainConfig
from ops.train.objective import CrossEntropy
from ops.train.optimizer import AdamW
from ops.train.plan import activation_bytes, describe, memory
from tests.model.common import MOE, MTP, TIED, TINY

CONFIG = TrainConfig(model=TINY, batch_size=8, seq_len=64, total_tokens=20 * 8 * 64)


def nbytes(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("model_config", [TINY, TIED, MTP])
def test_the_state_is_exact(model_config):
    model = HybridLM.create(model_config, seed=0)
    optimizer = AdamW(model, CONFIG.optimizer)
    ids = torch.randint(97, (2, 32))
    total, _ = CrossEntropy(model)(ids, ids, torch.zeros_like(ids))
    total.backward()
    found = memory(CONFIG, model_config, parallel="ddp", processes=1)
    assert found.weights == nbytes([*model.parameters(), *model.buffers()])
    assert found.gradients == nbytes([p.grad for p in model.parameters() if p.grad is not None])
    assert found.moments == nbytes(optimizer.tensors().values())
    assert found.gathered == 0
    for processes in (2, 8):
        shares = [
            sum(4 * prod(p.chunk(processes)[0].shape) for p in model.parameters()),  # the first share is the largest
            nbytes(model.buffers()),
        ]
        sharded = memory(CONFIG, model_config, parallel="fsdp", processes=processes)
        assert (sharded.weights, sharded.gradients, sharded.moments) == (sum(shares), shares[0], 2 * shares[0])
        whole = memory(CONFIG, model_config, parallel="ddp", processes=processes)
        assert whole.state == found.state
        assert whole.gathered == found.gradients


def _alone(model_config) -> int:
    """Bytes that one layer keeps, for the tokens of the test below."""
    return activation_bytes(CONFIG, model_config, tokens=4 * 64) - 4 * 64 * 2 * 4 * model_config.d_model


WIDE = replace(TINY, mamba_num_heads=2, mamba_head_dim=48)  # no padding in the kernel of the scan
NETWORKS = [*(replace(WIDE, pattern=kind * 6) for kind in "M*-"), replace(MOE, pattern="E*E-")]


@pytest.mark.parametrize("model_config", NETWORKS, ids=lambda config: config.pattern)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_those_that_autograd_keeps(model_config, checkpointing, monkeypatch):
    """Within a quarter: norms keep a number a token, the scan its chunks' states. Without the loss."""
    monkeypatch.setenv("STILLHOUSE_KERNELS", "cpu,torch")
    model = HybridLM.create(model_config, seed=0)
    model.backbone.activation_checkpointing = checkpointing
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    seen: dict[int, int] = {}
    held = []

    def pack(tensor):
        held.append(tensor)  # or its memory is used again, and counted once
        if tensor.is_floating_point() and tensor.untyped_storage().data_ptr() not in own:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.randint(97, (4, 64))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = model.hidden_states(ids)
    config = replace(CONFIG, activation_checkpointing=checkpointing)
    counted = activation_bytes(config, model_config, tokens=4 * 64)
    if checkpointing:
        layer = max((replace(model_config, pattern=kind) for kind in model_config.pattern), key=_alone)
        counted -= _alone(layer)  # no layer is at work yet
    measured = sum(seen.values()) + hidden.untyped_storage().nbytes() * (
        hidden.untyped_storage().data_ptr() not in seen
    )
    assert counted == pytest.approx(measured, rel=0.25)


def test_a_plan_says_what_does_not_fit(capsys):
    with pytest.raises(InputError, match="batch_size 8 does not divide among 3 processes"):
        memory(CONFIG, TINY, parallel="fsdp", processes=3)
    text = describe(CONFIG, processes=4)
    assert "20 steps of 512 tokens, 10,240 in all" in text
    assert text.count("fsdp") == 2


def test_it_is_a_command(capsys):
    from ops.cli import stage_main

    arguments = ["--plan", "--num-processes", "2", "--batch-size", "4"]
    assert stage_main("ops.train", TrainConfig, input_names=(), argv=arguments, planned=True) == 0
    assert "ddp, checkpointing" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        stage_main("ops.train", TrainConfig, input_names=(), argv=[], planned=True)
    assert "required: --out" in capsys.readouterr().err
