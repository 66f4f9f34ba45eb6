"""The linear projection without bias, y = x W^T.

Shape suffixes: T tokens, I inputs, O outputs.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kernels.dispatch import Operation
from kernels.matmul import large_enough, matmul, usable

LINEAR: Operation[Callable[[Tensor, Tensor], Tensor]] = Operation("linear")


def linear(x: Tensor, weight_OI: Tensor, *, backend: str = "auto") -> Tensor:
    """x (..., I) times W^T: (..., O). Under autocast in its type, by torch."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.nn.functional.linear(x, weight_OI)
    return LINEAR.select(backend, x.device, x.dtype, weight_OI.dtype)(x, weight_OI)


@LINEAR.register("ref")
def _linear_ref(x, weight_OI):
    return (x[..., None, :] * weight_OI).sum(-1)


@LINEAR.register("torch")
def _linear_torch(x, weight_OI):
    return torch.nn.functional.linear(x, weight_OI)


class _TiledLinear(Function):
    @staticmethod
    def forward(ctx, x, weight_OI):
        x_TI = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(x_TI, weight_OI)
        ctx.shape = x.shape
        y = x.new_empty(*x.shape[:-1], weight_OI.shape[0])  # no view: the next operation may write over it
        matmul(x_TI, weight_OI.T, out_MN=y.view(-1, weight_OI.shape[0]))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        x_TI, weight_OI = ctx.saved_tensors
        grad_TO = grad.reshape(-1, grad.shape[-1])
        wanted = ctx.needs_input_grad
        grad_x_TI = matmul(grad_TO, weight_OI) if wanted[0] else None
        grad_weight_OI = matmul(grad_TO.T, x_TI) if wanted[1] else None
        return None if grad_x_TI is None else grad_x_TI.view(ctx.shape), grad_weight_OI


@LINEAR.register("amx", usable=usable, dtypes=[torch.float32])
def _linear_amx(x, weight_OI):
    outputs, inputs = weight_OI.shape
    if not large_enough(x.numel() // inputs, inputs, outputs):
        return torch.nn.functional.linear(x, weight_OI)
    return _TiledLinear.apply(x, weight_OI)
