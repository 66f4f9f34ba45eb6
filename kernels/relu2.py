"""Squared ReLU, the activation of the family's feed-forward layers (So et al., arXiv 2109.08668)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import relu

from kernels import native, triton_support
from kernels.dispatch import Operation

SQUARED_RELU: Operation[Callable[..., Tensor]] = Operation("squared_relu")


def squared_relu(x: Tensor, *, backend: str = "auto") -> Tensor:
    """max(x, 0)^2 of every number."""
    return SQUARED_RELU.select(backend, x.device, x.dtype)(x)


@SQUARED_RELU.register("ref")
def _squared_relu_ref(x):
    return torch.where(x > 0, x * x, torch.where(x.isnan(), x, 0))


@SQUARED_RELU.register("torch")
def _squared_relu_torch(x):
    return relu(x).square()


def _run(x: Tensor, grad: Tensor | None) -> Tensor:
    y = torch.empty_like(x)
    native.call("relu2", x.dtype, x, grad, y, x.numel(), torch.get_num_threads())
    return y


class _NativeSquaredReLU(Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        ctx.save_for_backward(x)
        return _run(x, None)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return _run(x, grad.contiguous())


@SQUARED_RELU.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _squared_relu_cpu(x):
    if not torch.is_grad_enabled():
        return _run(x.contiguous(), None)
    return _NativeSquaredReLU.apply(x)


@SQUARED_RELU.register("triton", **triton_support.REGISTRATION)
def _squared_relu_triton(x):
    from kernels import relu2_triton

    return relu2_triton.squared_relu(x)
