"""The `triton` backend of the scan's single step, for decoding: one program for a head and a tile of its channels.

Shape suffixes as in kernels.ssd.
"""

import torch
import triton.language as tl
from torch import Tensor

from kernels.native import inner_dense
from kernels.triton_support import blocks, kernel, on, padded, triton_type, untraced, work_dtype


@kernel
def _step(
    x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, state_ptr, y_ptr, next_ptr, x_batch, dt_batch, B_batch, C_batch,
    SKIP: tl.constexpr, HEADS: tl.constexpr, GROUPS: tl.constexpr, HEAD_DIM: tl.constexpr, STATE: tl.constexpr,
    WORK: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    at_P = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    at_N = tl.arange(0, BLOCK_N)
    inside_P, inside_N = at_P < HEAD_DIM, at_N < STATE
    shared_N = head // (HEADS // GROUPS) * STATE + at_N
    x_P = tl.load(x_ptr + batch * x_batch + head * HEAD_DIM + at_P, mask=inside_P, other=0.0).to(WORK)
    dt = tl.load(dt_ptr + batch * dt_batch + head).to(WORK)
    B_N = tl.load(B_ptr + batch * B_batch + shared_N, mask=inside_N, other=0.0).to(WORK)
    C_N = tl.load(C_ptr + batch * C_batch + shared_N, mask=inside_N, other=0.0).to(WORK)
    at_PN = ((batch * HEADS + head) * HEAD_DIM + at_P)[:, None] * STATE + at_N[None, :]
    inside_PN = inside_P[:, None] & inside_N[None, :]
    state_PN = tl.load(state_ptr + at_PN, mask=inside_PN, other=0.0).to(WORK)
    state_PN = state_PN * tl.exp(dt * tl.load(A_ptr + head).to(WORK)) + (dt * x_P)[:, None] * B_N[None, :]
    y_P = tl.sum(state_PN * C_N[None, :], 1)
    if SKIP:
        y_P += tl.load(D_ptr + head).to(WORK) * x_P
    tl.store(y_ptr + (batch * HEADS + head) * HEAD_DIM + at_P, y_P.to(y_ptr.dtype.element_ty), mask=inside_P)
    tl.store(next_ptr + at_PN, state_PN, mask=inside_PN)


@untraced
def step(x_BHP, dt_BH, A_H, B_BGN, C_BGN, state_BHPN, D_H) -> tuple[Tensor, Tensor]:
    """(y_BHP, new state_BHPN), as kernels.ssd.ssd_step, without gradients."""
    batch, heads, head_dim = x_BHP.shape
    groups, state = B_BGN.shape[1:]
    work = work_dtype(x_BHP, dt_BH, A_H, B_BGN, C_BGN, state_BHPN, D_H)
    # One position as a sequence of them: dense behind the second axis.
    x, dt, B, C = (inner_dense(tensor.unsqueeze(1)) for tensor in (x_BHP, dt_BH, B_BGN, C_BGN))
    state_BHPN = state_BHPN.contiguous()
    y_BHP, next_BHPN = x.new_empty(x_BHP.shape), torch.empty_like(state_BHPN, dtype=work)
    block_P = min(16, padded(head_dim))
    with on(x):
        _step[(blocks(head_dim, block_P), heads, batch)](
            x, dt, A_H.contiguous(), B, C, x if D_H is None else D_H.contiguous(), state_BHPN, y_BHP, next_BHPN,
            x.stride(0), dt.stride(0), B.stride(0), C.stride(0),
            SKIP=D_H is not None, HEADS=heads, GROUPS=groups, HEAD_DIM=head_dim, STATE=state,
            WORK=triton_type(work), BLOCK_P=block_P, BLOCK_N=padded(state),
        )  # fmt: skip
    return y_BHP, next_BHPN
