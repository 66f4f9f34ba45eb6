"""The `triton` backend of the SSD scan: the chunked form of arXiv 2405.21060, section 6, in four kernels.

    cumulate   dt and the cumulative sum of dt * A inside each chunk, by head
    products   C B^T of each chunk, by group
    states     one pass over the chunks: the state before each of them, which is updated in registers
    scan       y from the two

The backward pass makes the first three again and keeps nothing but the inputs; its kernels are in
kernels.ssd_backward_triton. Decays are exponentials of differences that are never positive, masked before the
exponential. Accumulators and states are float32, what is kept of states and products has the type of the operands.

Shape suffixes as in kernels.ssd; M positions padded to whole chunks (c * Q), T positions of a tile, I and J tiles of
rows and columns of the matrix of a chunk.
"""

import triton.language as tl
from torch import Tensor

from kernels.ssd_inputs import ScanInputs
from kernels.ssd_plan import Plan, Prepared
from kernels.triton_support import blocks, kernel, on, padded, tuned

WARPS = [{"num_warps": warps, "num_stages": stages} for warps, stages in ((4, 2), (4, 3), (8, 3))]
"""What is timed at the first call with a shape."""

KEY = ["HEAD_DIM", "STATE", "CHUNK", "BACK", "OF_B"]
"""The constants that make up a shape. Not the length: prompts have many."""


@kernel
def _cumulate(
    dt_ptr, A_ptr, out_dt_ptr, cum_ptr, length, chunks, dt_batch, dt_row,
    HEADS: tl.constexpr, CHUNK: tl.constexpr, WORK: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    batch, chunk = (tl.program_id(0) // chunks).to(tl.int64), tl.program_id(0) % chunks
    position_Q = chunk * CHUNK + tl.arange(0, CHUNK)
    head_H = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    inside_QH = (position_Q < length)[:, None] & (head_H < HEADS)[None, :]
    at_QH = batch * dt_batch + position_Q.to(tl.int64)[:, None] * dt_row + head_H[None, :]
    dt_QH = tl.load(dt_ptr + at_QH, mask=inside_QH, other=0.0).to(WORK)
    A_H = tl.load(A_ptr + head_H, mask=head_H < HEADS, other=0.0).to(WORK)
    cum_QH = tl.cumsum(dt_QH * A_H[None, :], 0)
    at_QH = (batch * HEADS + head_H)[None, :] * (chunks * CHUNK) + position_Q[:, None]
    tl.store(out_dt_ptr + at_QH, dt_QH, mask=(head_H < HEADS)[None, :])
    tl.store(cum_ptr + at_QH, cum_QH, mask=(head_H < HEADS)[None, :])


@kernel
def tile_of(pointer, at_L, limit, row, within_X, width):
    """Rows `at_L` of a tensor (length, ...), numbers `within_X` of `width` in each; zeros outside."""
    at_LX = at_L.to(tl.int64)[:, None] * row + within_X[None, :]
    return tl.load(pointer + at_LX, mask=(at_L < limit)[:, None] & (within_X < width)[None, :], other=0.0)


@tuned(WARPS[:2], KEY)
@kernel
def _products(
    B_ptr, C_ptr, scores_ptr, length, chunks, B_batch, B_row, C_batch, C_row,
    GROUPS: tl.constexpr, HEAD_DIM: tl.constexpr, STATE: tl.constexpr, CHUNK: tl.constexpr, DOT: tl.constexpr,
    PRECISION: tl.constexpr, WORK: tl.constexpr, TILE: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    batch, chunk = (tl.program_id(0) // chunks).to(tl.int64), tl.program_id(0) % chunks
    group = tl.program_id(1)
    first_I, first_J = tl.program_id(2) // (CHUNK // TILE) * TILE, tl.program_id(2) % (CHUNK // TILE) * TILE
    if first_I >= first_J:
        in_I, in_J = first_I + tl.arange(0, TILE), first_J + tl.arange(0, TILE)
        B_ptr += batch * B_batch + group * STATE
        C_ptr += batch * C_batch + group * STATE
        scores_IJ = tl.zeros((TILE, TILE), WORK)
        for start in range(0, STATE, BLOCK_N):
            at_N = start + tl.arange(0, BLOCK_N)
            C_IN = tile_of(C_ptr, chunk * CHUNK + in_I, length, C_row, at_N, STATE).to(DOT)
            B_JN = tile_of(B_ptr, chunk * CHUNK + in_J, length, B_row, at_N, STATE).to(DOT)
            scores_IJ += tl.dot(C_IN, tl.trans(B_JN), input_precision=PRECISION)
        at = ((batch * chunks + chunk) * GROUPS + group) * CHUNK * CHUNK
        at_IJ = at + in_I[:, None] * CHUNK + in_J[None, :]
        tl.store(scores_ptr + at_IJ, scores_IJ.to(scores_ptr.dtype.element_ty))


@kernel
def documents(seq_idx_ptr, chunk, length, CHUNK: tl.constexpr):
    """The documents at the end of the chunk before (of the first position in the first) and of this one."""
    before = tl.load(seq_idx_ptr + tl.maximum(chunk * CHUNK - 1, 0))
    return before, tl.load(seq_idx_ptr + tl.minimum((chunk + 1) * CHUNK, length) - 1)


@kernel
def weights(
    dt_ptr, cum_ptr, seq_idx_ptr, chunk, in_T, length,
    CHUNK: tl.constexpr, PACKED: tl.constexpr, TO_END: tl.constexpr, TIMES_DT: tl.constexpr,
):  # fmt: skip
    """Of positions `in_T` of a chunk: how much of them reaches the state at its end, or of the state before it them."""
    at_T = chunk * CHUNK + in_T
    cum_T = tl.load(cum_ptr + at_T)
    weight_T = tl.exp(tl.load(cum_ptr + chunk * CHUNK + CHUNK - 1) - cum_T) if TO_END else tl.exp(cum_T)
    if TIMES_DT:
        weight_T *= tl.load(dt_ptr + at_T)
    if PACKED:
        before, end = documents(seq_idx_ptr, chunk, length, CHUNK)
        own_T = tl.load(seq_idx_ptr + at_T, mask=at_T < length, other=0)
        weight_T = tl.where(own_T == (end if TO_END else before), weight_T, 0.0)
    return weight_T


@tuned(WARPS, KEY)
@kernel
def pass_states(
    x_ptr, B_ptr, dt_ptr, cum_ptr, seq_idx_ptr, given_ptr, forward_ptr, states_ptr, final_ptr, kept_ptr,
    length, chunks, x_batch, x_row, B_batch, B_row,
    BACK: tl.constexpr, GIVEN: tl.constexpr, HEADS: tl.constexpr, GROUPS: tl.constexpr, HEAD_DIM: tl.constexpr,
    STATE: tl.constexpr, CHUNK: tl.constexpr, PACKED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
    WORK: tl.constexpr, TILE: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The state before each chunk, from what each adds; with BACK the gradient of the state after each chunk, from the
    last to the first, of gradients of y in place of x and C in place of B, and by how much `forward` decays in it."""
    tiles_N: tl.constexpr = (STATE + BLOCK_N - 1) // BLOCK_N
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    at_P = tl.program_id(0) // tiles_N * BLOCK_P + tl.arange(0, BLOCK_P)
    at_N = tl.program_id(0) % tiles_N * BLOCK_N + tl.arange(0, BLOCK_N)
    inside_PN = (at_P < HEAD_DIM)[:, None] & (at_N < STATE)[None, :]
    at_PN = at_P[:, None] * STATE + at_N[None, :]
    row = batch * HEADS + head
    x_ptr += batch * x_batch + head * HEAD_DIM
    B_ptr += batch * B_batch + head // (HEADS // GROUPS) * STATE
    dt_ptr += row * chunks * CHUNK
    cum_ptr += row * chunks * CHUNK
    seq_idx_ptr += batch * length
    kept_ptr += (tl.program_id(0) * tl.num_programs(2) * HEADS + row) * chunks
    state_PN = tl.zeros((BLOCK_P, BLOCK_N), WORK)
    if GIVEN:
        state_PN += tl.load(given_ptr + row * HEAD_DIM * STATE + at_PN, mask=inside_PN, other=0.0).to(WORK)
    in_Q = tl.arange(0, CHUNK)
    for step in range(0, chunks):
        chunk = chunks - 1 - step if BACK else step
        at = ((batch * chunks + chunk) * HEADS + head) * HEAD_DIM * STATE
        tl.store(states_ptr + at + at_PN, state_PN.to(states_ptr.dtype.element_ty), mask=inside_PN)
        carry = tl.exp(tl.load(cum_ptr + chunk * CHUNK + CHUNK - 1))
        if PACKED:
            before, end = documents(seq_idx_ptr, chunk, length, CHUNK)
            carry = tl.where(before == end, carry, 0.0)
        state_PN *= carry
        if BACK:
            forward_PN = tl.load(forward_ptr + at + at_PN, mask=inside_PN, other=0.0).to(WORK)
            tl.store(kept_ptr + chunk, tl.sum(state_PN * forward_PN))
        weight_Q = weights(dt_ptr, cum_ptr, seq_idx_ptr, chunk, in_Q, length, CHUNK, PACKED, not BACK, not BACK)
        x_QP = tile_of(x_ptr, chunk * CHUNK + in_Q, length, x_row, at_P, HEAD_DIM).to(WORK) * weight_Q[:, None]
        B_QN = tile_of(B_ptr, chunk * CHUNK + in_Q, length, B_row, at_N, STATE).to(DOT)
        state_PN += tl.dot(tl.trans(x_QP.to(DOT)), B_QN, input_precision=PRECISION)
    tl.store(final_ptr + row * HEAD_DIM * STATE + at_PN, state_PN, mask=inside_PN)


@kernel
def decays(
    cum_ptr, seq_idx_ptr, chunk, in_I, in_J, length, CHUNK: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """exp(cum_I - cum_J) where J is not after I and of the same document, else 0."""
    at_I, at_J = chunk * CHUNK + in_I, chunk * CHUNK + in_J
    visible_IJ = in_I[:, None] >= in_J[None, :]
    if PACKED:
        own_I = tl.load(seq_idx_ptr + at_I, mask=at_I < length, other=0)
        own_J = tl.load(seq_idx_ptr + at_J, mask=at_J < length, other=0)
        visible_IJ = visible_IJ & (own_I[:, None] == own_J[None, :])
    difference_IJ = tl.load(cum_ptr + at_I)[:, None] - tl.load(cum_ptr + at_J)[None, :]
    return tl.exp(tl.where(visible_IJ, difference_IJ, float("-inf")))


@tuned(WARPS, KEY)
@kernel
def _scan(
    x_ptr, C_ptr, D_ptr, dt_ptr, cum_ptr, seq_idx_ptr, scores_ptr, states_ptr, y_ptr,
    length, chunks, x_batch, x_row, C_batch, C_row,
    SKIP: tl.constexpr, HEADS: tl.constexpr, GROUPS: tl.constexpr, HEAD_DIM: tl.constexpr, STATE: tl.constexpr,
    CHUNK: tl.constexpr, PACKED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr, WORK: tl.constexpr,
    TILE: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    tiles: tl.constexpr = CHUNK // TILE
    cell, head = tl.program_id(0) // tiles, tl.program_id(1)
    batch, chunk = (cell // chunks).to(tl.int64), cell % chunks
    group, row = head // (HEADS // GROUPS), batch * HEADS + head
    first_I = tl.program_id(0) % tiles * TILE
    in_I = first_I + tl.arange(0, TILE)
    at_P = tl.program_id(2) * BLOCK_P + tl.arange(0, BLOCK_P)
    x_ptr += batch * x_batch + head * HEAD_DIM
    C_ptr += batch * C_batch + group * STATE
    dt_ptr += row * chunks * CHUNK
    cum_ptr += row * chunks * CHUNK
    seq_idx_ptr += batch * length
    states_ptr += ((batch * chunks + chunk) * HEADS + head) * HEAD_DIM * STATE
    scores_ptr += ((batch * chunks + chunk) * GROUPS + group) * CHUNK * CHUNK

    y_IP = tl.zeros((TILE, BLOCK_P), WORK)
    for start in range(0, STATE, BLOCK_N):
        at_N = start + tl.arange(0, BLOCK_N)
        C_IN = tile_of(C_ptr, chunk * CHUNK + in_I, length, C_row, at_N, STATE).to(DOT)
        state_PN = tile_of(states_ptr, at_P, HEAD_DIM, STATE, at_N, STATE).to(DOT)
        y_IP += tl.dot(C_IN, tl.trans(state_PN), input_precision=PRECISION)
    y_IP *= weights(dt_ptr, cum_ptr, seq_idx_ptr, chunk, in_I, length, CHUNK, PACKED, False, False)[:, None]
    for first_J in range(0, first_I + TILE, TILE):
        in_J = first_J + tl.arange(0, TILE)
        decay_IJ = decays(cum_ptr, seq_idx_ptr, chunk, in_I, in_J, length, CHUNK, PACKED)
        decay_IJ *= tl.load(dt_ptr + chunk * CHUNK + in_J)[None, :]
        scores_IJ = tl.load(scores_ptr + in_I[:, None] * CHUNK + in_J[None, :]).to(WORK)
        scores_IJ = tl.where(in_I[:, None] >= in_J[None, :], scores_IJ, 0.0)
        x_JP = tile_of(x_ptr, chunk * CHUNK + in_J, length, x_row, at_P, HEAD_DIM).to(DOT)
        y_IP += tl.dot((scores_IJ * decay_IJ).to(DOT), x_JP, input_precision=PRECISION)
    if SKIP:
        x_IP = tile_of(x_ptr, chunk * CHUNK + in_I, length, x_row, at_P, HEAD_DIM).to(WORK)
        y_IP += x_IP * tl.load(D_ptr + head).to(WORK)
    at_I = chunk * CHUNK + in_I
    at_IP = ((batch * length + at_I)[:, None] * HEADS + head) * HEAD_DIM + at_P[None, :]
    inside_IP = (at_I < length)[:, None] & (at_P < HEAD_DIM)[None, :]
    tl.store(y_ptr + at_IP, y_IP.to(y_ptr.dtype.element_ty), mask=inside_IP)


def prepare(inputs: ScanInputs, plan: Plan) -> Prepared:
    """Everything but y."""
    x, dt, A, B, C, _, initial, seq_idx = inputs
    size, chunks, batch = plan.size, plan.chunks, plan.batch
    per_head = (batch, plan.heads, chunks * size)
    dt_BHM, cum_BHM = (x.new_empty(per_head, dtype=plan.work) for _ in range(2))
    scores_BcGQQ = x.new_empty(batch, chunks, plan.groups, size, size, dtype=plan.dot)
    states_BcHPN = x.new_empty(batch, chunks, plan.heads, plan.head_dim, plan.state, dtype=plan.dot)
    final_BHPN = x.new_empty(batch, plan.heads, plan.head_dim, plan.state, dtype=plan.work)
    constants = plan.constants(seq_idx is not None)
    tile_P, tile_N = plan.state_tile()
    given = x if initial is None else initial
    block_H = min(8, padded(plan.heads))
    with on(x):
        _cumulate[(batch * chunks, blocks(plan.heads, block_H))](
            dt, A, dt_BHM, cum_BHM, plan.length, chunks, *dt.stride()[:2],
            HEADS=plan.heads, CHUNK=size, WORK=constants["WORK"], BLOCK_H=block_H,
        )  # fmt: skip
        _products[(batch * chunks, plan.groups, plan.tiles**2)](
            B, C, scores_BcGQQ, plan.length, chunks, *B.stride()[:2], *C.stride()[:2],
            GROUPS=plan.groups, HEAD_DIM=plan.head_dim, STATE=plan.state, CHUNK=size, WORK=constants["WORK"],
            BLOCK_N=tile_N, **plan.products(),
        )  # fmt: skip
        pass_states[(blocks(plan.head_dim, tile_P) * blocks(plan.state, tile_N), plan.heads, batch)](
            x, B, dt_BHM, cum_BHM, x if seq_idx is None else seq_idx, given, x, states_BcHPN, final_BHPN, final_BHPN,
            plan.length, chunks, *x.stride()[:2], *B.stride()[:2],
            BACK=False, GIVEN=initial is not None, BLOCK_P=tile_P, BLOCK_N=tile_N, **constants, **plan.products(),
        )  # fmt: skip
    return Prepared(dt_BHM, cum_BHM, scores_BcGQQ, states_BcHPN, final_BHPN)


def scan_forward(inputs: ScanInputs, chunk_size: int) -> tuple[Tensor, Tensor]:
    """(y_BLHP, final state_BHPN)."""
    plan = Plan.of(inputs, chunk_size)
    x, _, _, _, C, D, _, seq_idx = inputs
    made = prepare(inputs, plan)
    y_BLHP = x.new_empty(x.shape)
    tile_P, tile_N = min(64, padded(plan.head_dim, 16)), min(64, padded(plan.state, 16))
    with on(x):
        _scan[(plan.batch * plan.chunks * plan.tiles, plan.heads, blocks(plan.head_dim, tile_P))](
            x, C, x if D is None else D, made.dt_BHM, made.cum_BHM, x if seq_idx is None else seq_idx,
            made.scores_BcGQQ, made.states_BcHPN, y_BLHP,
            plan.length, plan.chunks, *x.stride()[:2], *C.stride()[:2],
            SKIP=D is not None, BLOCK_P=tile_P, BLOCK_N=tile_N,
            **plan.constants(seq_idx is not None), **plan.products(),
        )  # fmt: skip
    return y_BLHP, made.final_BHPN
