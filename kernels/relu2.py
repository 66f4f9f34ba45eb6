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


def squared_relu(x: Tensor, *, consume: bool = False, backend: str = "auto") -> Tensor:
    """max(x, 0)^2 of every number. With `consume` nobody else needs x, and its memory may become the result's."""
    return SQUARED_RELU.select(backend, x.device, x.dtype)(x, consume)


@SQUARED_RELU.register("ref")
def _squared_relu_ref(x, consume):
    return torch.where(x > 0, x * x, torch.where(x.isnan(), x, 0))


@SQUARED_RELU.register("torch")
def _squared_relu_torch(x, consume):
    return relu(x).square()


def _run(x: Tensor, grad: Tensor | None, y: Tensor) -> Tensor:
    native.call("relu2", x.dtype, x, grad, y, x.numel(), torch.get_num_threads())
    return y


class _NativeSquaredReLU(Function):
    """Keeps its result alone, of which the backward pass takes the root."""

    @staticmethod
    def forward(ctx, x, consume):
        if consume and x.is_contiguous():
            ctx.mark_dirty(x)
            y = _run(x, None, x)
        else:
            y = _run(x.contiguous(), None, x.new_empty(x.shape))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        (y,) = ctx.saved_tensors
        grad = grad.contiguous()
        return _run(y, grad, torch.empty_like(grad)), None


@SQUARED_RELU.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _squared_relu_cpu(x, consume):
    return _NativeSquaredReLU.apply(x, consume)


@SQUARED_RELU.register("triton", **triton_support.REGISTRATION)
def _squared_relu_triton(x, consume):
    from kernels import relu2_triton

    return relu2_triton.squared_relu(x, consume)
