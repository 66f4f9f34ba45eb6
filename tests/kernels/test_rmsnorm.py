"""The norms against their formulas in float64."""

import pytest
import torch
from torch.nn.functional import silu

from kernels.rmsnorm import RMS_NORM, gated_rms_norm, rms_norm

BACKENDS = RMS_NORM.backends("cpu")
EPS = 1e-5


def make_inputs(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x, gate = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    weight = 1 + torch.randn(shape[-1], generator=generator, dtype=torch.float64)
    return x.to(dtype), gate.to(dtype), weight.to(dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rms_norm(backend):
    x, _, weight = make_inputs(2, 3, 8)
    expected = torch.empty_like(x)
    for i in range(2):
        for j in range(3):
            mean = sum(float(v) ** 2 for v in x[i, j]) / 8
            expected[i, j] = weight * x[i, j] / (mean + EPS) ** 0.5
    torch.testing.assert_close(rms_norm(x, weight, eps=EPS, backend=backend), expected)
    inputs = [x.requires_grad_(), weight.requires_grad_()]
    assert torch.autograd.gradcheck(lambda *t: rms_norm(*t, eps=EPS, backend=backend), inputs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("group_size", [2, 4, 12])
def test_gated_rms_norm(backend, group_size):
    x, gate, weight = make_inputs(2, 3, 12)
    expected = torch.empty_like(x)
    for start in range(0, 12, group_size):
        part = slice(start, start + group_size)
        gated = x[..., part] * silu(gate[..., part])
        expected[..., part] = rms_norm(gated, weight[part], eps=EPS, backend="ref")
    actual = gated_rms_norm(x, gate, weight, group_size=group_size, eps=EPS, backend=backend)
    torch.testing.assert_close(actual, expected)
    inputs = [t.requires_grad_() for t in (x, gate, weight)]
    assert torch.autograd.gradcheck(
        lambda *t: gated_rms_norm(*t, group_size=group_size, eps=EPS, backend=backend), inputs
    )


@pytest.mark.parametrize("backend", ["ref", "torch", "auto"])
def test_half_precision_is_normalised_in_float32(backend):
    x, gate, weight = make_inputs(4, 64, dtype=torch.bfloat16)
    for actual, expected in (
        (rms_norm(x, weight, eps=EPS, backend=backend), rms_norm(x.double(), weight.double(), eps=EPS)),
        (
            gated_rms_norm(x, gate, weight, group_size=16, eps=EPS, backend=backend),
            gated_rms_norm(x.double(), gate.double(), weight.double(), group_size=16, eps=EPS),
        ),
    ):
        assert actual.dtype == torch.bfloat16
        torch.testing.assert_close(actual, expected.bfloat16(), rtol=2**-7, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_slices_of_a_larger_tensor(backend):
    """Steps between rows that are not their width, as in a mixer."""
    whole, _, _ = make_inputs(2, 3, 29)
    x, gate = whole[..., 2:14], whole[..., 15:27]
    weight = torch.ones(12, dtype=torch.float64)
    for actual, expected in (
        (rms_norm(x, weight, eps=EPS, backend=backend), rms_norm(x.clone(), weight, eps=EPS, backend="ref")),
        (
            gated_rms_norm(x, gate, weight, group_size=4, eps=EPS, backend=backend),
            gated_rms_norm(x.clone(), gate.clone(), weight, group_size=4, eps=EPS, backend="ref"),
        ),
    ):
        torch.testing.assert_close(actual, expected)


def test_wrong_shapes_are_refused():
    x, gate, weight = make_inputs(2, 12)
    with pytest.raises(ValueError, match="groups of 5"):
        gated_rms_norm(x, gate, weight, group_size=5, eps=EPS)
    with pytest.raises(ValueError, match="do not fit"):
        gated_rms_norm(x, gate[:, :6], weight, group_size=4, eps=EPS)
    with pytest.raises(ValueError, match="weight has shape"):
        rms_norm(x, weight[:6], eps=EPS)
