"""The mixer between its projections as one operation: every backend against its parts in float64."""

import pytest
import torch

from kernels.mamba2 import MAMBA2, Settings, States, Weights, mamba2_mix

BACKENDS = MAMBA2.backends("cpu")
# batch, length, heads, head_dim, groups, state
SHAPES = [(2, 37, 4, 8, 2, 8), (1, 70, 2, 5, 1, 3), (2, 3, 4, 4, 2, 4), (2, 1, 4, 8, 2, 8), (1, 90, 4, 16, 1, 33)]
WIDTH = 4


def make_mixer(shape, *, dtype=torch.float64, seed=0):
    batch, length, heads, head_dim, groups, state = shape
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    inner = heads * head_dim
    channels = inner + 2 * groups * state
    weights = Weights(
        normal(channels, WIDTH) * 0.5,
        normal(channels) * 0.1,
        normal(heads) - 2,
        (1 + 15 * torch.rand(heads, generator=generator, dtype=torch.float64)).log().to(dtype),
        normal(heads),
        1 + normal(inner) * 0.1,
    )
    states = normal(batch, WIDTH - 1, channels), normal(batch, heads, head_dim, state)
    seq_idx = torch.rand(batch, length, generator=generator).lt(0.15).long().cumsum(1)
    settings = Settings(groups=groups, state_size=state, eps=1e-5, chunk_size=16)
    return normal(batch, length, inner + channels + heads), weights, settings, states, seq_idx


def run(shape, dtype, backend, *, with_state, packed):
    zxBCdt, weights, settings, states, seq_idx = make_mixer(shape, dtype=dtype)
    leaves = [t.requires_grad_() for t in (zxBCdt, *weights, *(states if with_state else ()))]
    options = {
        "states": States(*states) if with_state else None,
        "seq_idx_BL": seq_idx if packed else None,
        "backend": backend,
    }
    outputs = mamba2_mix(zxBCdt, weights, settings, **options)
    y, conv, ssm = outputs
    loss = (y * torch.cos(torch.arange(y.numel(), dtype=dtype)).view_as(y)).sum() + ssm.square().sum() + conv.sum()
    gradients = torch.autograd.grad(loss, leaves)
    with torch.no_grad():
        alone = mamba2_mix(zxBCdt, weights, settings, **options)
    return [*outputs, *gradients], alone


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "ref"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_equals_ref_with_gradients(backend, shape, with_state, packed):
    expected, _ = run(shape, torch.float64, "ref", with_state=with_state, packed=packed)
    actual, alone = run(shape, torch.float64, backend, with_state=with_state, packed=packed)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)
    for a, e in zip(alone, expected[:3], strict=True):  # without gradients: the step of decoding is a path of its own
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "ref"])
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_float32(backend, shape):
    expected, _ = run(shape, torch.float64, "ref", with_state=True, packed=True)
    actual, alone = run(shape, torch.float32, backend, with_state=True, packed=True)
    for a, e in zip([*actual, *alone], [*expected, *expected[:3]], strict=True):
        assert a.dtype == torch.float32
        assert (a.double() - e).norm() <= 1e-5 * e.norm()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend):
    zxBCdt, weights, settings, states, seq_idx = make_mixer((1, 5, 2, 2, 1, 2))

    def mix(zxBCdt, *rest):
        weights, states = Weights(*rest[:6]), States(*rest[6:])
        return mamba2_mix(zxBCdt, weights, settings, states=states, seq_idx_BL=seq_idx, backend=backend)

    assert torch.autograd.gradcheck(mix, [t.requires_grad_() for t in (zxBCdt, *weights, *states)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_decoding_continues_a_prefill_and_leaves_its_states_alone(backend):
    zxBCdt, weights, settings, states, _ = make_mixer((2, 12, 4, 8, 2, 8))
    whole, *final = mamba2_mix(zxBCdt, weights, settings, states=States(*states), backend=backend)
    _, *reached = mamba2_mix(zxBCdt[:, :7], weights, settings, states=States(*states), backend=backend)
    for t in range(7, 12):
        before = [state.clone() for state in reached]
        y, *after = mamba2_mix(zxBCdt[:, t : t + 1], weights, settings, states=States(*reached), backend=backend)
        torch.testing.assert_close(y, whole[:, t : t + 1])
        assert all(torch.equal(a, b) for a, b in zip(reached, before, strict=True))
        reached = after
    for a, e in zip(reached, final, strict=True):
        torch.testing.assert_close(a, e)


def test_channels_that_do_not_fit_are_refused():
    zxBCdt, weights, settings, _, _ = make_mixer(SHAPES[0])
    with pytest.raises(ValueError, match="do not fit"):
        mamba2_mix(zxBCdt[..., 1:], weights, settings)
