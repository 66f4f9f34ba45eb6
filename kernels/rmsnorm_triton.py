"""The `triton` backend of the norms: one program for a block of rows and one group of channels.

The backward pass makes the statistics of a row again; nothing but the inputs is kept. Shape suffixes: T rows,
D channels, K blocks of rows whose gradients of the weight are summed first.
"""

import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kernels.rmsnorm import as_rows
from kernels.triton_support import blocks, kernel, on, padded, triton_type, untraced, work_dtype

TILE = 2048
"""Numbers of a row, or of several short ones, that a program holds at once."""

MOST_PARTS = 1024
"""Blocks of rows whose gradients of the weight are kept apart, at most."""


@kernel
def _row(pointer, row_T, step, channel_D, inside_TD, WORK: tl.constexpr):
    at_TD = row_T.to(tl.int64)[:, None] * step + channel_D[None, :]
    return tl.load(pointer + at_TD, mask=inside_TD, other=0.0).to(WORK)


@kernel
def _forward(
    x_ptr, gate_ptr, weight_ptr, y_ptr, rows, x_step, gate_step, y_step, eps,
    GROUP: tl.constexpr, GATED: tl.constexpr, WORK: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    row_T = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    within_D = tl.arange(0, BLOCK_D)
    channel_D = tl.program_id(1) * GROUP + within_D
    inside_TD = (row_T < rows)[:, None] & (within_D < GROUP)[None, :]
    u_TD = _row(x_ptr, row_T, x_step, channel_D, inside_TD, WORK)
    if GATED:
        gate_TD = _row(gate_ptr, row_T, gate_step, channel_D, inside_TD, WORK)
        u_TD = u_TD * gate_TD / (1 + tl.exp(-gate_TD))
    weight_D = tl.load(weight_ptr + channel_D, mask=within_D < GROUP, other=0.0).to(WORK)
    scale_T = 1 / tl.sqrt(tl.sum(u_TD * u_TD, 1) / GROUP + eps)
    y_TD = u_TD * scale_T[:, None] * weight_D[None, :]
    at_TD = row_T.to(tl.int64)[:, None] * y_step + channel_D[None, :]
    tl.store(y_ptr + at_TD, y_TD.to(y_ptr.dtype.element_ty), mask=inside_TD)


@kernel
def _backward(
    x_ptr, gate_ptr, weight_ptr, dy_ptr, dx_ptr, dgate_ptr, dweight_ptr,
    rows, width, x_step, gate_step, dy_step, dx_step, dgate_step, eps,
    GROUP: tl.constexpr, GATED: tl.constexpr, WORK: tl.constexpr,
    BLOCKS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    within_D = tl.arange(0, BLOCK_D)
    channel_D = tl.program_id(1) * GROUP + within_D
    weight_D = tl.load(weight_ptr + channel_D, mask=within_D < GROUP, other=0.0).to(WORK)
    dweight_D = tl.zeros((BLOCK_D,), WORK)
    for block in range(BLOCKS):
        row_T = (tl.program_id(0) * BLOCKS + block) * BLOCK_T + tl.arange(0, BLOCK_T)
        inside_TD = (row_T < rows)[:, None] & (within_D < GROUP)[None, :]
        x_TD = _row(x_ptr, row_T, x_step, channel_D, inside_TD, WORK)
        dy_TD = _row(dy_ptr, row_T, dy_step, channel_D, inside_TD, WORK)
        u_TD = x_TD
        if GATED:
            gate_TD = _row(gate_ptr, row_T, gate_step, channel_D, inside_TD, WORK)
            sigmoid_TD = 1 / (1 + tl.exp(-gate_TD))
            u_TD = x_TD * gate_TD * sigmoid_TD
        scale_T = 1 / tl.sqrt(tl.sum(u_TD * u_TD, 1) / GROUP + eps)
        normed_TD = u_TD * scale_T[:, None]
        dweight_D += tl.sum(dy_TD * normed_TD, 0)
        dnormed_TD = dy_TD * weight_D[None, :]
        mean_T = tl.sum(dnormed_TD * normed_TD, 1) / GROUP
        du_TD = (dnormed_TD - normed_TD * mean_T[:, None]) * scale_T[:, None]
        if GATED:
            # silu' = sigmoid * (1 + gate * (1 - sigmoid))
            dgate_TD = du_TD * x_TD * sigmoid_TD * (1 + gate_TD * (1 - sigmoid_TD))
            at_TD = row_T.to(tl.int64)[:, None] * dgate_step + channel_D[None, :]
            tl.store(dgate_ptr + at_TD, dgate_TD.to(dgate_ptr.dtype.element_ty), mask=inside_TD)
            du_TD = du_TD * gate_TD * sigmoid_TD
        at_TD = row_T.to(tl.int64)[:, None] * dx_step + channel_D[None, :]
        tl.store(dx_ptr + at_TD, du_TD.to(dx_ptr.dtype.element_ty), mask=inside_TD)
    tl.store(dweight_ptr + tl.program_id(0).to(tl.int64) * width + channel_D, dweight_D, mask=within_D < GROUP)


def _tile(group_size: int) -> dict[str, int]:
    width = padded(group_size)
    rows = max(1, min(16, TILE // width))
    return {"BLOCK_T": rows, "BLOCK_D": width, "num_warps": max(4, min(16, rows * width // 512))}


class _Norm(Function):
    @staticmethod
    def forward(ctx, x_XD, gate_XD, weight_D, group_size, eps):
        x_TD, gate_TD = as_rows(x_XD), None if gate_XD is None else as_rows(gate_XD)
        weight_D = weight_D.contiguous()
        ctx.save_for_backward(x_TD, gate_TD, weight_D)
        ctx.options = group_size, eps
        y_TD = x_TD.new_empty(x_TD.shape)
        rows, width = x_TD.shape
        tile = _tile(group_size)
        if rows:
            with on(x_TD):
                _forward[(blocks(rows, tile["BLOCK_T"]), width // group_size)](
                    x_TD, gate_TD, weight_D, y_TD,
                    rows, x_TD.stride(0), 0 if gate_TD is None else gate_TD.stride(0), y_TD.stride(0), eps,
                    GROUP=group_size, GATED=gate_TD is not None, WORK=triton_type(work_dtype(x_TD, weight_D)), **tile,
                )  # fmt: skip
        return y_TD.view(x_XD.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_XD):  # pyright: ignore[reportIncompatibleMethodOverride]
        x_TD, gate_TD, weight_D = ctx.saved_tensors
        group_size, eps = ctx.options
        grad_TD = as_rows(grad_XD)
        rows, width = x_TD.shape
        dx_TD = x_TD.new_empty(x_TD.shape)
        dgate_TD = None if gate_TD is None else gate_TD.new_empty(gate_TD.shape)
        work = work_dtype(x_TD, weight_D)
        tile = _tile(group_size)
        each = padded(blocks(rows, tile["BLOCK_T"] * MOST_PARTS))
        parts = blocks(rows, tile["BLOCK_T"] * each)
        dweight_KD = x_TD.new_empty(parts, width, dtype=work)
        if rows:
            with on(x_TD):
                _backward[(parts, width // group_size)](
                    x_TD, gate_TD, weight_D, grad_TD, dx_TD, dgate_TD, dweight_KD,
                    rows, width, x_TD.stride(0), 0 if gate_TD is None else gate_TD.stride(0), grad_TD.stride(0),
                    dx_TD.stride(0), 0 if dgate_TD is None else dgate_TD.stride(0), eps,
                    GROUP=group_size, GATED=gate_TD is not None, WORK=triton_type(work), BLOCKS=each, **tile,
                )  # fmt: skip
        dgate_XD = None if dgate_TD is None else dgate_TD.view(grad_XD.shape)
        return dx_TD.view(grad_XD.shape), dgate_XD, dweight_KD.sum(0).to(weight_D.dtype), None, None


@untraced
def norm(x_XD: Tensor, gate_XD: Tensor | None, weight_D: Tensor, group_size: int, eps: float) -> Tensor:
    """RMS norm within groups, of x * silu(gate) where there is a gate; as kernels.rmsnorm."""
    return _Norm.apply(x_XD, gate_XD, weight_D, group_size, eps)
