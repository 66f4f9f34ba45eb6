"""Squared ReLU against its formula."""

import pytest
import torch

from kernels.relu2 import SQUARED_RELU, squared_relu

BACKENDS = SQUARED_RELU.backends("cpu")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(1,), (3, 7), (20_000,)])
def test_values_and_gradients(backend, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    y = squared_relu(x, backend=backend)
    torch.testing.assert_close(y, (x * (x > 0)) ** 2)
    gradient = torch.autograd.grad(y.sum(), x)[0]
    torch.testing.assert_close(gradient, 2 * x * (x > 0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_input_that_is_not_contiguous(backend):
    x = torch.arange(-6.0, 6.0).view(3, 4).T
    torch.testing.assert_close(squared_relu(x, backend=backend), x.clamp(min=0) ** 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_stays(backend):
    assert squared_relu(torch.tensor([float("nan"), -1.0]), backend=backend).isnan().tolist() == [True, False]


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_that_nobody_needs_becomes_the_result(backend):
    x = torch.randn(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    inner = x * 1
    y = squared_relu(inner, consume=True, backend=backend)
    torch.testing.assert_close(y, x.clamp(min=0) ** 2)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], 2 * x.clamp(min=0))
    assert (y.data_ptr() == inner.data_ptr()) == (backend == "cpu")
