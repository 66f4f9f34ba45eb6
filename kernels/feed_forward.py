"""The feed-forward network of the family, y = max(x U^T, 0)^2 D^T, as one operation: the square and its gradient are
taken where the products leave their results.

Shape suffixes: T tokens, D outer width, M inner width.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kernels import matmul
from kernels.dispatch import Operation
from kernels.linear import linear
from kernels.relu2 import squared_relu

FEED_FORWARD: Operation[Callable[[Tensor, Tensor, Tensor], Tensor]] = Operation("feed_forward")


def feed_forward(x: Tensor, up_MD: Tensor, down_DM: Tensor, *, backend: str = "auto") -> Tensor:
    """y (..., D) of x (..., D). Under autocast by `torch`, whose parts have its type."""
    if torch.is_autocast_enabled(x.device.type):
        backend = "torch"
    return FEED_FORWARD.select(backend, x.device, x.dtype, up_MD.dtype, down_DM.dtype)(x, up_MD, down_DM)


@FEED_FORWARD.register("ref")
def _feed_forward_ref(x, up_MD, down_DM):
    return linear(squared_relu(linear(x, up_MD, backend="ref"), backend="ref"), down_DM, backend="ref")


@FEED_FORWARD.register("torch")
def _feed_forward_torch(x, up_MD, down_DM):
    """One part after the other, each by its best backend."""
    return linear(squared_relu(linear(x, up_MD), consume=True), down_DM)


class _TiledFeedForward(Function):
    """Keeps x and the squares alone."""

    @staticmethod
    def forward(ctx, x, up_MD, down_DM):
        x_TD = x.reshape(-1, x.shape[-1])
        squares_TM = matmul.squared_relu_of_product(x_TD, up_MD.T)
        ctx.save_for_backward(x_TD, up_MD, down_DM, squares_TM)
        y = x.new_empty(*x.shape[:-1], down_DM.shape[0])
        matmul.matmul(squares_TM, down_DM.T, out_MN=y.view(-1, down_DM.shape[0]))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        x_TD, up_MD, down_DM, squares_TM = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        grad_TD = grad.reshape(-1, grad.shape[-1])
        grad_x = grad_up_MD = grad_down_DM = None
        if wanted[2]:
            grad_down_DM = matmul.matmul(grad_TD.T, squares_TM)
        if wanted[0] or wanted[1]:
            grad_TM = matmul.squared_relu_gradient_of_product(grad_TD, down_DM, squares_TM)
            grad_up_MD = matmul.matmul(grad_TM.T, x_TD) if wanted[1] else None
            grad_x = matmul.matmul(grad_TM, up_MD).view(*grad.shape[:-1], -1) if wanted[0] else None
        return grad_x, grad_up_MD, grad_down_DM


@FEED_FORWARD.register("amx", usable=matmul.usable, dtypes=[torch.float32])
def _feed_forward_amx(x, up_MD, down_DM):
    inner, outer = up_MD.shape
    if not matmul.large_enough(x.numel() // outer, inner, outer):
        return _feed_forward_torch(x, up_MD, down_DM)
    return _TiledFeedForward.apply(x, up_MD, down_DM)
