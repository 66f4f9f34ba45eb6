"""The feed-forward network as one operation against its formula."""

import pytest
import torch

from kernels.feed_forward import FEED_FORWARD, feed_forward
from model.config import HybridConfig
from model.ffn import FeedForward

BACKENDS = FEED_FORWARD.backends("cpu")


def normal(*shape, seed, dtype=torch.float32):
    scale = shape[-1] ** -0.5
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(tokens, outer, inner, dtype=torch.float32):
    shapes = (3, tokens, outer), (inner, outer), (outer, inner)
    return [normal(*shape, seed=seed, dtype=dtype).requires_grad_() for seed, shape in enumerate(shapes)]


def formula(x, up, down):
    return (x @ up.T).clamp(min=0).square() @ down.T


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sizes", [(2, 8, 12), (50, 160, 192), (47, 130, 2100)])
def test_values_and_gradients(backend, sizes):
    given = inputs(*sizes)
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    y, expected = feed_forward(*given, backend=backend), formula(*exact)
    grad = normal(*y.shape, seed=7)
    found = torch.autograd.grad(y, given, grad)
    wanted = torch.autograd.grad(expected, exact, grad.double())
    for left, right in zip((y, *found), (expected, *wanted), strict=True):
        assert float((left.detach().double() - right.detach()).norm() / right.detach().norm()) < 2e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wanted", range(3))
def test_gradients_that_nobody_wants_are_not_made(backend, wanted):
    given = [tensor.detach().requires_grad_(index == wanted) for index, tensor in enumerate(inputs(60, 160, 192))]
    feed_forward(*given, backend=backend).sum().backward()
    assert [tensor.grad is not None for tensor in given] == [index == wanted for index in range(3)]
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    expected = torch.autograd.grad(formula(*exact).sum(), exact)[wanted]
    torch.testing.assert_close(given[wanted].grad.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_stays(backend):
    x, up, down = inputs(60, 160, 192)
    x.data[1, 7, 3] = float("nan")
    y = feed_forward(x, up, down, backend=backend)
    assert y[1, 7].isnan().all()
    assert y.isnan().sum() == y.shape[-1]


def layer():
    config = HybridConfig(
        pattern="-",
        vocab_size=64,
        d_model=160,
        intermediate_size=192,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        mamba_num_heads=4,
        mamba_head_dim=16,
        ssm_state_size=16,
        n_groups=1,
    )
    module = FeedForward(config)
    for parameter in module.parameters():
        parameter.data = normal(*parameter.shape, seed=parameter.shape[0])
    return module


def test_hooks_on_a_projection_see_what_they_saw():
    module, seen, x = layer(), [], normal(3, 60, 160, seed=1)
    alone = module(x)
    module.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    torch.testing.assert_close(module(x), alone, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(seen[0], (x @ module.up_proj.weight.T).clamp(min=0).square(), rtol=1e-5, atol=1e-6)


def test_a_bias_counts():
    module, x = layer(), normal(3, 60, 160, seed=1)
    alone = module(x)
    module.down_proj.bias = torch.nn.Parameter(torch.ones(160))
    torch.testing.assert_close(module(x), alone + 1, rtol=1e-5, atol=1e-6)
