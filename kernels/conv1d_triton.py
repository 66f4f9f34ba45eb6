"""The `triton` backend of the causal convolution: one program for a block of positions and one of channels.

The backward pass makes the sums before SiLU again. Shape suffixes as in kernels.conv1d; L and C are the positions and
channels of a program where the numbers are inside one, Z blocks of positions of all rows.
"""

import torch
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kernels.native import inner_dense
from kernels.triton_support import blocks, kernel, on, triton_type, untraced, work_dtype

BLOCK_L, BLOCK_C = 64, 64


@kernel
def _tap(
    x_ptr, state_ptr, seq_idx_ptr, at_L, seq_idx_L, channel_C, length, channels, x_row,
    WIDTH: tl.constexpr, STATE: tl.constexpr, PACKED: tl.constexpr, WORK: tl.constexpr,
):  # fmt: skip
    """Inputs at positions that may lie before the sequence, zeros where they are of another document."""
    seen_L = at_L < length
    if PACKED:
        other_L = tl.load(seq_idx_ptr + tl.maximum(at_L, 0), mask=seen_L, other=0)
        seen_L = seen_L & (other_L == seq_idx_L)
    inside_C = (channel_C < channels)[None, :]
    at_LC = at_L.to(tl.int64)[:, None] * x_row + channel_C[None, :]
    x_LC = tl.load(x_ptr + at_LC, mask=(seen_L & (at_L >= 0))[:, None] & inside_C, other=0.0).to(WORK)
    if STATE:
        before_L = at_L + (WIDTH - 1)
        at_LC = before_L[:, None] * channels + channel_C[None, :]
        before_LC = (seen_L & (at_L < 0) & (before_L >= 0))[:, None] & inside_C
        x_LC += tl.load(state_ptr + at_LC, mask=before_LC, other=0.0).to(WORK)
    return x_LC


@kernel
def _convolve(
    x_ptr, weight_ptr, bias_ptr, state_ptr, seq_idx_ptr, dy_ptr, out_ptr, part_ptr,
    length, channels, blocks_L, x_batch, x_row, dy_batch, dy_row,
    GRADIENT: tl.constexpr, WIDTH: tl.constexpr, STATE: tl.constexpr, PACKED: tl.constexpr, WORK: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """y; with GRADIENT that of the sums before SiLU, and what this block adds to those of weight and bias."""
    batch = (tl.program_id(0) // blocks_L).to(tl.int64)
    position_L = (tl.program_id(0) % blocks_L) * BLOCK_L + tl.arange(0, BLOCK_L)
    channel_C = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_C = channel_C < channels
    inside_LC = (position_L < length)[:, None] & inside_C[None, :]
    x_ptr += batch * x_batch
    state_ptr += batch * (WIDTH - 1) * channels
    seq_idx_ptr += batch * length
    seq_idx_L = position_L
    if PACKED:
        seq_idx_L = tl.load(seq_idx_ptr + position_L, mask=position_L < length, other=0)
    sum_LC = tl.zeros((BLOCK_L, BLOCK_C), WORK)
    sum_LC += tl.load(bias_ptr + channel_C, mask=inside_C, other=0.0).to(WORK)[None, :]
    for k in tl.static_range(WIDTH):
        x_LC = _tap(
            x_ptr, state_ptr, seq_idx_ptr, position_L + (k + 1 - WIDTH), seq_idx_L, channel_C, length, channels, x_row,
            WIDTH, STATE, PACKED, WORK,
        )  # fmt: skip
        sum_LC += x_LC * tl.load(weight_ptr + channel_C * WIDTH + k, mask=inside_C, other=0.0).to(WORK)[None, :]
    sigmoid_LC = 1 / (1 + tl.exp(-sum_LC))
    out_LC = sum_LC * sigmoid_LC
    if GRADIENT:
        at_LC = batch * dy_batch + position_L.to(tl.int64)[:, None] * dy_row + channel_C[None, :]
        dy_LC = tl.load(dy_ptr + at_LC, mask=inside_LC, other=0.0).to(WORK)
        out_LC = dy_LC * sigmoid_LC * (1 + sum_LC * (1 - sigmoid_LC))
        part_ptr += tl.program_id(0).to(tl.int64) * (WIDTH + 1) * channels
        for k in tl.static_range(WIDTH):
            x_LC = _tap(
                x_ptr, state_ptr, seq_idx_ptr, position_L + (k + 1 - WIDTH), seq_idx_L, channel_C,
                length, channels, x_row, WIDTH, STATE, PACKED, WORK,
            )  # fmt: skip
            tl.store(part_ptr + k * channels + channel_C, tl.sum(out_LC * x_LC, 0), mask=inside_C)
        tl.store(part_ptr + WIDTH * channels + channel_C, tl.sum(out_LC, 0), mask=inside_C)
    at_LC = (batch * length + position_L.to(tl.int64))[:, None] * channels + channel_C[None, :]
    tl.store(out_ptr + at_LC, out_LC.to(out_ptr.dtype.element_ty), mask=inside_LC)


@kernel
def _spread(
    dsum_ptr, weight_ptr, seq_idx_ptr, dx_ptr, dstate_ptr, length, channels, blocks_L,
    WIDTH: tl.constexpr, STATE: tl.constexpr, PACKED: tl.constexpr, WORK: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradients of the inputs, and of the state before them, from those of the sums."""
    batch = (tl.program_id(0) // blocks_L).to(tl.int64)
    position_L = (tl.program_id(0) % blocks_L) * BLOCK_L + tl.arange(0, BLOCK_L)
    if STATE:
        position_L -= WIDTH - 1
    channel_C = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_C = channel_C < channels
    dsum_ptr += batch * length * channels
    seq_idx_ptr += batch * length
    seq_idx_L = position_L
    if PACKED:
        seq_idx_L = tl.load(seq_idx_ptr + tl.maximum(position_L, 0), mask=position_L < length, other=0)
    dx_LC = tl.zeros((BLOCK_L, BLOCK_C), WORK)
    for k in tl.static_range(WIDTH):
        at_L = position_L + (WIDTH - 1 - k)
        seen_L = (at_L >= 0) & (at_L < length)
        if PACKED:
            seen_L = seen_L & (tl.load(seq_idx_ptr + at_L, mask=seen_L, other=0) == seq_idx_L)
        at_LC = at_L.to(tl.int64)[:, None] * channels + channel_C[None, :]
        dsum_LC = tl.load(dsum_ptr + at_LC, mask=seen_L[:, None] & inside_C[None, :], other=0.0).to(WORK)
        dx_LC += dsum_LC * tl.load(weight_ptr + channel_C * WIDTH + k, mask=inside_C, other=0.0).to(WORK)[None, :]
    inside_LC = ((position_L >= 0) & (position_L < length))[:, None] & inside_C[None, :]
    at_LC = (batch * length + position_L)[:, None] * channels + channel_C[None, :]
    tl.store(dx_ptr + at_LC, dx_LC.to(dx_ptr.dtype.element_ty), mask=inside_LC)
    if STATE:
        before_LC = (position_L < 0)[:, None] & inside_C[None, :]
        at_LC = (batch * (WIDTH - 1) + position_L + (WIDTH - 1))[:, None] * channels + channel_C[None, :]
        tl.store(dstate_ptr + at_LC, dx_LC.to(dstate_ptr.dtype.element_ty), mask=before_LC)


def _flags(weight_CK, initial_state_BSC, seq_idx_BL, work):
    return {
        "WIDTH": weight_CK.shape[1],
        "STATE": initial_state_BSC is not None,
        "PACKED": seq_idx_BL is not None,
        "WORK": triton_type(work),
        "BLOCK_L": BLOCK_L,
        "BLOCK_C": BLOCK_C,
        "num_warps": 8,
    }


class _Conv(Function):
    @staticmethod
    def forward(ctx, x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL):
        x_BLC, weight_CK, bias_C = inner_dense(x_BLC), weight_CK.contiguous(), bias_C.contiguous()
        initial_state_BSC = None if initial_state_BSC is None else initial_state_BSC.contiguous()
        seq_idx_BL = None if seq_idx_BL is None else seq_idx_BL.contiguous()
        ctx.save_for_backward(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL)
        batch, length, channels = x_BLC.shape
        y_BLC = x_BLC.new_empty(x_BLC.shape)
        blocks_L = blocks(length, BLOCK_L)
        with on(x_BLC):
            _convolve[(batch * blocks_L, blocks(channels, BLOCK_C))](
                x_BLC, weight_CK, bias_C, _given(initial_state_BSC, x_BLC), _given(seq_idx_BL, x_BLC), x_BLC, y_BLC,
                y_BLC, length, channels, blocks_L, x_BLC.stride(0), x_BLC.stride(1), 0, 0,
                GRADIENT=False,
                **_flags(weight_CK, initial_state_BSC, seq_idx_BL, work_dtype(x_BLC, weight_CK, bias_C)),
            )  # fmt: skip
        return y_BLC

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_BLC):  # pyright: ignore[reportIncompatibleMethodOverride]
        x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL = ctx.saved_tensors
        grad_BLC = inner_dense(grad_BLC)
        batch, length, channels = x_BLC.shape
        width = weight_CK.shape[1]
        work = work_dtype(x_BLC, weight_CK, bias_C)
        flags = _flags(weight_CK, initial_state_BSC, seq_idx_BL, work)
        blocks_L, blocks_C = blocks(length, BLOCK_L), blocks(channels, BLOCK_C)
        dsum_BLC = x_BLC.new_empty(x_BLC.shape)
        part_ZKC = x_BLC.new_empty(batch * blocks_L, width + 1, channels, dtype=work)
        dx_BLC = x_BLC.new_empty(x_BLC.shape)
        dstate_BSC = None if initial_state_BSC is None else torch.empty_like(initial_state_BSC)
        seq_idx = _given(seq_idx_BL, x_BLC)
        with on(x_BLC):
            _convolve[(batch * blocks_L, blocks_C)](
                x_BLC, weight_CK, bias_C, _given(initial_state_BSC, x_BLC), seq_idx, grad_BLC, dsum_BLC, part_ZKC,
                length, channels, blocks_L, x_BLC.stride(0), x_BLC.stride(1), grad_BLC.stride(0), grad_BLC.stride(1),
                GRADIENT=True, **flags,
            )  # fmt: skip
            blocks_L = blocks(length + (0 if dstate_BSC is None else width - 1), BLOCK_L)
            _spread[(batch * blocks_L, blocks_C)](
                dsum_BLC, weight_CK, seq_idx, dx_BLC, _given(dstate_BSC, dx_BLC), length, channels, blocks_L, **flags
            )
        sums_KC = part_ZKC.sum(0)
        dweight_CK = sums_KC[:width].T.to(weight_CK.dtype)
        return dx_BLC, dweight_CK, sums_KC[width].to(bias_C.dtype), dstate_BSC, None


def _given(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A pointer for the kernel to add to, which it does not read where nothing was given."""
    return other if tensor is None else tensor


@untraced
def convolve(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL) -> Tensor:
    """y_BLC, as kernels.conv1d.causal_conv1d."""
    return _Conv.apply(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL)
