"""The Triton kernels of the norms and of the squared ReLU, interpreted, against the formulas in float64."""

import pytest
import torch

from kernels.relu2 import squared_relu
from kernels.rmsnorm import gated_rms_norm, rms_norm
from tests.kernels.triton_agreement import agree, normal


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(2, 3, 8), (37, 12), (1, 5)])
def test_rms_norm(shape, dtype):
    inputs = [normal(*shape), 1 + normal(shape[-1], seed=1)]
    agree(lambda backend, *t: [rms_norm(*t, eps=1e-5, backend=backend)], inputs, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("shape", "group_size"), [((2, 3, 12), 4), ((2, 3, 12), 12), ((33, 20), 10)])
def test_gated_rms_norm(shape, group_size, dtype):
    inputs = [normal(*shape), normal(*shape, seed=1), 1 + normal(shape[-1], seed=2)]
    agree(lambda backend, *t: [gated_rms_norm(*t, group_size=group_size, eps=1e-5, backend=backend)], inputs, dtype)


def test_many_rows_are_summed_in_parts(monkeypatch):
    from kernels import rmsnorm_triton

    monkeypatch.setattr(rmsnorm_triton, "MOST_PARTS", 3)
    monkeypatch.setattr(rmsnorm_triton, "TILE", 32)
    inputs = [normal(75, 8), normal(8, seed=1)]
    agree(lambda backend, *t: [rms_norm(*t, eps=1e-5, backend=backend)], inputs, torch.float64)


def test_slices_of_a_larger_tensor():
    """Steps between rows that are not their width, as in a mixer."""

    def run(backend, whole, weight):
        return [gated_rms_norm(whole[..., 2:14], whole[..., 15:27], weight, group_size=4, eps=1e-5, backend=backend)]

    agree(run, [normal(2, 3, 29), normal(12, seed=1)], torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(1,), (3, 7), (5000,), (0, 4)])
def test_squared_relu(shape, dtype):
    agree(lambda backend, x: [squared_relu(x, backend=backend)], [normal(*shape)], dtype)


def test_nan_stays():
    x = torch.tensor([float("nan"), -1.0, 2.0])
    assert squared_relu(x, backend="triton").isnan().tolist() == [True, False, False]


def test_auto_takes_the_interpreter_for_nothing():
    from kernels.relu2 import SQUARED_RELU

    cpu = torch.device("cpu")
    assert "triton" in SQUARED_RELU.backends(cpu)
    assert SQUARED_RELU.select("auto", cpu, torch.float32) is not SQUARED_RELU.select("triton", cpu, torch.float32)
