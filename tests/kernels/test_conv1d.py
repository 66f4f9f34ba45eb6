"""Every backend of the causal convolution against torch's conv1d and the formula in float64."""

import itertools

import pytest
import torch

from kernels.conv1d import CONV1D, causal_conv1d

BACKENDS = CONV1D.backends("cpu")


def make_inputs(batch, length, channels, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, length, channels), (channels, width), (channels,), (batch, width - 1, channels)]
    tensors = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    seq_idx = torch.rand(batch, length, generator=generator).lt(0.2).long().cumsum(1)
    return tensors, seq_idx


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(2, 40, 6, 4), (1, 2, 5, 4), (3, 9, 4, 2), (1, 6, 133, 3), (1, 20, 3, 12)])
def test_equals_torch(backend, shape):
    (x, weight, bias, _), _ = make_inputs(*shape)
    width = shape[3]
    padded = torch.nn.functional.pad(x.transpose(1, 2), (width - 1, 0))
    expected = torch.nn.functional.silu(torch.nn.functional.conv1d(padded, weight[:, None], bias, groups=shape[2]))
    y, state = causal_conv1d(x, weight, bias, backend=backend)
    torch.testing.assert_close(y, expected.transpose(1, 2))
    torch.testing.assert_close(state, padded.transpose(1, 2)[:, -(width - 1) :])


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "ref"])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_equals_ref_with_gradients(backend, with_state, packed):
    (x, weight, bias, initial), seq_idx = make_inputs(2, 13, 3, 4)

    def run(tensors, name):
        x, weight, bias, initial = tensors
        return causal_conv1d(
            x,
            weight,
            bias,
            initial_state_BSC=initial if with_state else None,
            seq_idx_BL=seq_idx if packed else None,
            backend=name,
        )

    tensors = [t.requires_grad_() for t in (x, weight, bias, initial)]
    for a, e in zip(run(tensors, backend), run(tensors, "ref"), strict=True):
        torch.testing.assert_close(a, e)
    assert torch.autograd.gradcheck(lambda *t: run(t, backend), tensors)


@pytest.mark.parametrize("backend", BACKENDS)
def test_packed_documents_are_independent(backend):
    (x, weight, bias, initial), _ = make_inputs(1, 20, 3, 4)
    bounds = [0, 2, 9, 10, 20]
    seq_idx = torch.zeros(1, 20, dtype=torch.long)
    for number, start in enumerate(bounds[1:-1], 1):
        seq_idx[:, start:] = number
    y, final = causal_conv1d(x, weight, bias, initial_state_BSC=initial, seq_idx_BL=seq_idx, backend=backend)
    state = None
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        alone, state = causal_conv1d(x[:, start:end], weight, bias, initial_state_BSC=initial if number == 0 else None)
        torch.testing.assert_close(y[:, start:end], alone)
    torch.testing.assert_close(final, state)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_position_at_a_time(backend):
    (x, weight, bias, initial), _ = make_inputs(2, 7, 3, 4)
    whole, final = causal_conv1d(x, weight, bias, initial_state_BSC=initial, backend=backend)
    state = initial
    for t in range(7):
        y, state = causal_conv1d(x[:, t : t + 1], weight, bias, initial_state_BSC=state, backend=backend)
        torch.testing.assert_close(y[:, 0], whole[:, t])
    torch.testing.assert_close(state, final)


def test_wrong_shape_is_named():
    (x, weight, bias, _), seq_idx = make_inputs(2, 5, 3, 4)
    with pytest.raises(ValueError, match=r"seq_idx_BL has shape \(2, 4\), expected \(2, 5\)"):
        causal_conv1d(x, weight, bias, seq_idx_BL=seq_idx[:, :4])
