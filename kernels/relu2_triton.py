"""The `triton` backend of the squared ReLU."""

import torch
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kernels.triton_support import blocks, kernel, on, triton_type, untraced, work_dtype

BLOCK = 2048


@kernel
def _relu2(x_ptr, grad_ptr, y_ptr, count, GRADIENT: tl.constexpr, WORK: tl.constexpr, BLOCK: tl.constexpr):
    """max(x, 0)^2; with GRADIENT 2 sqrt(x) grad, where x is such a square."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(WORK)
    if GRADIENT:
        y = 2 * tl.sqrt(x) * tl.load(grad_ptr + at, mask=inside, other=0.0).to(WORK)
    else:
        positive = tl.where(x <= 0, 0.0, x)  # NaN stays
        y = positive * positive
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)


def _run(x: Tensor, grad: Tensor | None, y: Tensor) -> Tensor:
    if x.numel():
        with on(x):
            _relu2[(blocks(x.numel(), BLOCK),)](
                x, grad, y, x.numel(), GRADIENT=grad is not None, WORK=triton_type(work_dtype(x)), BLOCK=BLOCK
            )
    return y


class _SquaredReLU(Function):
    """Keeps its result alone, of which the backward pass takes the root."""

    @staticmethod
    def forward(ctx, x, consume):
        if consume and x.is_contiguous():
            ctx.mark_dirty(x)
            y = _run(x, None, x)
        else:
            x = x.contiguous()
            y = _run(x, None, torch.empty_like(x))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        (y,) = ctx.saved_tensors
        grad = grad.contiguous()
        return _run(y, grad, torch.empty_like(grad)), None


@untraced
def squared_relu(x: Tensor, consume: bool = False) -> Tensor:
    """As kernels.relu2.squared_relu."""
    return _SquaredReLU.apply(x, consume)
