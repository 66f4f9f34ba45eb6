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
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(WORK)
    positive = tl.where(x <= 0, 0.0, x)  # NaN stays
    other = 2 * tl.load(grad_ptr + at, mask=inside, other=0.0).to(WORK) if GRADIENT else positive
    y = positive * other
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)


def _run(x: Tensor, grad: Tensor | None) -> Tensor:
    y = torch.empty_like(x)
    if x.numel():
        with on(x):
            _relu2[(blocks(x.numel(), BLOCK),)](
                x, grad, y, x.numel(), GRADIENT=grad is not None, WORK=triton_type(work_dtype(x)), BLOCK=BLOCK
            )
    return y


class _SquaredReLU(Function):
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


@untraced
def squared_relu(x: Tensor) -> Tensor:
    """As kernels.relu2.squared_relu."""
    return _SquaredReLU.apply(x)
