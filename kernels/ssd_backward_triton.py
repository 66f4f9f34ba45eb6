"""The backward pass of the SSD scan in Triton, after kernels.ssd_triton has made the states again.

    pass_states   the gradient of the state after each chunk, from the last chunk to the first
    inputs        the gradient of x, and what dt and D get from x directly
    scores        the gradient of C B^T, summed over the heads of a group, and of the decays between two positions
    shared        the gradients of B and of C, summed over the heads of a group, and of the decays to and from states
    steps         the gradients of dt, and of A, from all of these

A decay exp(cum_i - cum_j) depends on the steps t with j < t <= i. Its gradients are added up as sums over rows minus
sums over columns (of the part below the diagonal, both of the same float32 numbers), followed by a cumulative sum from
the end of the chunk. Shape suffixes as in kernels.ssd_triton; K and R number tiles of columns and of rows.
"""

import torch
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kernels.native import inner_dense
from kernels.ssd_inputs import ScanInputs
from kernels.ssd_plan import Plan
from kernels.ssd_triton import KEY, WARPS, decays, pass_states, prepare, scan_forward, tile_of, weights
from kernels.triton_support import blocks, kernel, on, padded, tuned, untraced

MOST_SHARED = 8192
"""Numbers of a gradient of B or C that one program holds."""


@tuned(WARPS, KEY)
@kernel
def _inputs(
    x_ptr, B_ptr, D_ptr, dy_ptr, dt_ptr, cum_ptr, seq_idx_ptr, scores_ptr, dstates_ptr, dx_ptr, direct_ptr, dD_ptr,
    length, chunks, x_batch, x_row, B_batch, B_row, dy_batch, dy_row,
    SKIP: tl.constexpr, HEADS: tl.constexpr, GROUPS: tl.constexpr, HEAD_DIM: tl.constexpr, STATE: tl.constexpr,
    CHUNK: tl.constexpr, PACKED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr, WORK: tl.constexpr,
    TILE: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    tiles: tl.constexpr = CHUNK // TILE
    cell, head = tl.program_id(0) // tiles, tl.program_id(1)
    batch, chunk = (cell // chunks).to(tl.int64), cell % chunks
    group, row = head // (HEADS // GROUPS), batch * HEADS + head
    first_J = tl.program_id(0) % tiles * TILE
    in_J = first_J + tl.arange(0, TILE)
    at_J = chunk * CHUNK + in_J
    at_P = tl.arange(0, BLOCK_P)
    x_ptr += batch * x_batch + head * HEAD_DIM
    B_ptr += batch * B_batch + group * STATE
    dy_ptr += batch * dy_batch + head * HEAD_DIM
    dt_ptr += row * chunks * CHUNK
    cum_ptr += row * chunks * CHUNK
    seq_idx_ptr += batch * length
    dstates_ptr += ((batch * chunks + chunk) * HEADS + head) * HEAD_DIM * STATE
    scores_ptr += ((batch * chunks + chunk) * GROUPS + group) * CHUNK * CHUNK

    grad_JP = tl.zeros((TILE, BLOCK_P), WORK)  # of x * dt
    for start in range(0, STATE, BLOCK_N):
        at_N = start + tl.arange(0, BLOCK_N)
        B_JN = tile_of(B_ptr, at_J, length, B_row, at_N, STATE).to(DOT)
        dstate_PN = tile_of(dstates_ptr, at_P, HEAD_DIM, STATE, at_N, STATE).to(DOT)
        grad_JP += tl.dot(B_JN, tl.trans(dstate_PN), input_precision=PRECISION)
    dt_J = tl.load(dt_ptr + at_J)
    weight_J = weights(dt_ptr, cum_ptr, seq_idx_ptr, chunk, in_J, length, CHUNK, PACKED, True, False)
    grad_JP *= weight_J[:, None]
    for first_I in range(first_J, CHUNK, TILE):
        in_I = first_I + tl.arange(0, TILE)
        decay_IJ = decays(cum_ptr, seq_idx_ptr, chunk, in_I, in_J, length, CHUNK, PACKED)
        scores_IJ = tl.load(scores_ptr + in_I[:, None] * CHUNK + in_J[None, :]).to(WORK)
        scores_IJ = tl.where(in_I[:, None] >= in_J[None, :], scores_IJ, 0.0)
        dy_IP = tile_of(dy_ptr, chunk * CHUNK + in_I, length, dy_row, at_P, HEAD_DIM).to(DOT)
        grad_JP += tl.dot(tl.trans((scores_IJ * decay_IJ).to(DOT)), dy_IP, input_precision=PRECISION)
    x_JP = tile_of(x_ptr, at_J, length, x_row, at_P, HEAD_DIM).to(WORK)
    tl.store(direct_ptr + row * chunks * CHUNK + at_J, tl.sum(grad_JP * x_JP, 1))
    grad_JP *= dt_J[:, None]
    if SKIP:
        dy_JP = tile_of(dy_ptr, at_J, length, dy_row, at_P, HEAD_DIM).to(WORK)
        grad_JP += dy_JP * tl.load(D_ptr + head).to(WORK)
        tl.store(dD_ptr + tl.program_id(0) * HEADS + head, tl.sum(dy_JP * x_JP))
    at_JP = ((batch * length + at_J)[:, None] * HEADS + head) * HEAD_DIM + at_P[None, :]
    inside_JP = (at_J < length)[:, None] & (at_P < HEAD_DIM)[None, :]
    tl.store(dx_ptr + at_JP, grad_JP.to(dx_ptr.dtype.element_ty), mask=inside_JP)


@tuned(WARPS, KEY)
@kernel
def _scores(
    x_ptr, dy_ptr, dt_ptr, cum_ptr, seq_idx_ptr, scores_ptr, dscores_ptr, rows_ptr, columns_ptr,
    batches, length, chunks, x_batch, x_row, dy_batch, dy_row,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, HEAD_DIM: tl.constexpr, STATE: tl.constexpr, CHUNK: tl.constexpr,
    PACKED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr, WORK: tl.constexpr, TILE: tl.constexpr,
    BLOCK_P: tl.constexpr,
):  # fmt: skip
    tiles: tl.constexpr = CHUNK // TILE
    batch, chunk = (tl.program_id(0) // chunks).to(tl.int64), tl.program_id(0) % chunks
    group = tl.program_id(1)
    tile_I, tile_J = tl.program_id(2) // tiles, tl.program_id(2) % tiles
    if tile_I >= tile_J:
        in_I, in_J = tile_I * TILE + tl.arange(0, TILE), tile_J * TILE + tl.arange(0, TILE)
        at_I, at_J = chunk * CHUNK + in_I, chunk * CHUNK + in_J
        at_P = tl.arange(0, BLOCK_P)
        seq_idx_ptr += batch * length
        at_IJ = ((batch * chunks + chunk) * GROUPS + group) * CHUNK * CHUNK + in_I[:, None] * CHUNK + in_J[None, :]
        scores_IJ = tl.load(scores_ptr + at_IJ).to(WORK)
        below_IJ = in_I[:, None] > in_J[None, :]
        dscores_IJ = tl.zeros((TILE, TILE), WORK)
        for number in range(HEADS // GROUPS):
            head = group * (HEADS // GROUPS) + number
            start = (batch * HEADS + head) * chunks * CHUNK
            dy_IP = tile_of(dy_ptr + batch * dy_batch + head * HEAD_DIM, at_I, length, dy_row, at_P, HEAD_DIM).to(DOT)
            x_JP = tile_of(x_ptr + batch * x_batch + head * HEAD_DIM, at_J, length, x_row, at_P, HEAD_DIM).to(DOT)
            grad_IJ = tl.dot(dy_IP, tl.trans(x_JP), input_precision=PRECISION)
            grad_IJ *= decays(cum_ptr + start, seq_idx_ptr, chunk, in_I, in_J, length, CHUNK, PACKED)
            grad_IJ *= tl.load(dt_ptr + start + at_J)[None, :]
            dscores_IJ += grad_IJ
            grad_IJ = tl.where(below_IJ, grad_IJ * scores_IJ, 0.0)
            part = batches * HEADS * chunks * CHUNK
            tl.store(rows_ptr + tile_J * part + start + at_I, tl.sum(grad_IJ, 1))
            tl.store(columns_ptr + tile_I * part + start + at_J, tl.sum(grad_IJ, 0))
        tl.store(dscores_ptr + at_IJ, dscores_IJ.to(dscores_ptr.dtype.element_ty))


@tuned(WARPS, KEY)
@kernel
def _shared(
    value_ptr, other_ptr, own_ptr, dt_ptr, cum_ptr, seq_idx_ptr, dscores_ptr, states_ptr, out_ptr, decay_ptr,
    length, chunks, value_batch, value_row, other_batch, other_row, own_batch, own_row,
    OF_B: tl.constexpr, HEADS: tl.constexpr, GROUPS: tl.constexpr, HEAD_DIM: tl.constexpr, STATE: tl.constexpr,
    CHUNK: tl.constexpr, PACKED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr, WORK: tl.constexpr,
    TILE: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The gradient of C, from gradients of y (`value`), B (`other`) and states; of B with OF_B, from x, C and gradients
    of states. `own` is C, or B: what the gradient meets in the decays."""
    tiles: tl.constexpr = CHUNK // TILE
    cell, group = tl.program_id(0) // tiles, tl.program_id(1)
    batch, chunk = (cell // chunks).to(tl.int64), cell % chunks
    first_I = tl.program_id(0) % tiles * TILE
    in_I = first_I + tl.arange(0, TILE)
    at_I = chunk * CHUNK + in_I
    at_P, at_N = tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_N)
    seq_idx_ptr += batch * length
    own_IN = tile_of(own_ptr + batch * own_batch + group * STATE, at_I, length, own_row, at_N, STATE).to(WORK)
    grad_IN = tl.zeros((TILE, BLOCK_N), WORK)
    for number in range(HEADS // GROUPS):
        head = group * (HEADS // GROUPS) + number
        start = (batch * HEADS + head) * chunks * CHUNK
        value_at = batch * value_batch + head * HEAD_DIM
        value_IP = tile_of(value_ptr + value_at, at_I, length, value_row, at_P, HEAD_DIM).to(DOT)
        state_at = ((batch * chunks + chunk) * HEADS + head) * HEAD_DIM * STATE
        state_PN = tile_of(states_ptr + state_at, at_P, HEAD_DIM, STATE, at_N, STATE).to(DOT)
        part_IN = tl.dot(value_IP, state_PN, input_precision=PRECISION)
        weight_I = weights(
            dt_ptr + start, cum_ptr + start, seq_idx_ptr, chunk, in_I, length, CHUNK, PACKED, OF_B, OF_B
        )  # fmt: skip
        part_IN *= weight_I[:, None]
        tl.store(decay_ptr + start + at_I, tl.sum(part_IN * own_IN, 1))
        grad_IN += part_IN
    other_ptr += batch * other_batch + group * STATE
    dscores_ptr += ((batch * chunks + chunk) * GROUPS + group) * CHUNK * CHUNK
    for first_J in range(first_I if OF_B else 0, CHUNK if OF_B else first_I + TILE, TILE):
        in_J = first_J + tl.arange(0, TILE)
        other_JN = tile_of(other_ptr, chunk * CHUNK + in_J, length, other_row, at_N, STATE).to(DOT)
        if OF_B:
            dscores_JI = tl.load(dscores_ptr + in_J[:, None] * CHUNK + in_I[None, :]).to(DOT)
            grad_IN += tl.dot(tl.trans(dscores_JI), other_JN, input_precision=PRECISION)
        else:
            dscores_IJ = tl.load(dscores_ptr + in_I[:, None] * CHUNK + in_J[None, :]).to(DOT)
            grad_IN += tl.dot(dscores_IJ, other_JN, input_precision=PRECISION)
    at_IN = ((batch * length + at_I)[:, None] * GROUPS + group) * STATE + at_N[None, :]
    inside_IN = (at_I < length)[:, None] & (at_N < STATE)[None, :]
    tl.store(out_ptr + at_IN, grad_IN.to(out_ptr.dtype.element_ty), mask=inside_IN)


@kernel
def _steps(
    A_ptr, dt_ptr, direct_ptr, rows_ptr, columns_ptr, from_ptr, to_ptr, kept_ptr, ddt_ptr, dA_ptr,
    batches, length, chunks, kept_parts,
    HEADS: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr, WORK: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    batch, chunk = (tl.program_id(0) // chunks).to(tl.int64), tl.program_id(0) % chunks
    head_H = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    inside_H = head_H < HEADS
    in_Q = tl.arange(0, CHUNK)
    at_HQ = (batch * HEADS + head_H)[:, None] * (chunks * CHUNK) + (chunk * CHUNK + in_Q)[None, :]
    inside_HQ = inside_H[:, None] & (in_Q < CHUNK)[None, :]
    part = batches * HEADS * chunks * CHUNK
    between_HQ = tl.load(from_ptr + at_HQ, mask=inside_HQ, other=0.0)
    for tile in range(CHUNK // TILE):
        in_rows_HQ = inside_HQ & (in_Q // TILE >= tile)[None, :]
        in_columns_HQ = inside_HQ & (in_Q // TILE <= tile)[None, :]
        between_HQ += tl.load(rows_ptr + tile * part + at_HQ, mask=in_rows_HQ, other=0.0)
        between_HQ -= tl.load(columns_ptr + tile * part + at_HQ, mask=in_columns_HQ, other=0.0)
    to_HQ = tl.load(to_ptr + at_HQ, mask=inside_HQ, other=0.0)
    kept_H = tl.zeros((BLOCK_H,), WORK)
    for number in range(0, kept_parts):
        at_H = (number * batches * HEADS + batch * HEADS + head_H) * chunks + chunk
        kept_H += tl.load(kept_ptr + at_H, mask=inside_H, other=0.0)
    # Of dt_t * A: decays between positions on both sides of t, from the chunk's start, to its end, and through it.
    grad_HQ = tl.cumsum(between_HQ, 1, reverse=True) + (tl.cumsum(to_HQ, 1) - to_HQ) + kept_H[:, None]
    A_H = tl.load(A_ptr + head_H, mask=inside_H, other=0.0).to(WORK)
    dt_HQ = tl.load(dt_ptr + at_HQ, mask=inside_HQ, other=0.0)
    tl.store(dA_ptr + tl.program_id(0) * HEADS + head_H, tl.sum(grad_HQ * dt_HQ, 1), mask=inside_H)
    ddt_HQ = grad_HQ * A_H[:, None] + tl.load(direct_ptr + at_HQ, mask=inside_HQ, other=0.0)
    inside_HQ = inside_H[:, None] & (chunk * CHUNK + in_Q < length)[None, :]
    at_HQ = (batch * length + chunk * CHUNK + in_Q)[None, :] * HEADS + head_H[:, None]
    tl.store(ddt_ptr + at_HQ, ddt_HQ.to(ddt_ptr.dtype.element_ty), mask=inside_HQ)


def scan_backward(
    inputs: ScanInputs, chunk_size: int, grad_y_BLHP: Tensor, grad_final_BHPN: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Gradients of all inputs but the documents. The gradient of y is dense behind its second axis."""
    plan = Plan.of(inputs, chunk_size)
    x, _, A, B, C, D, initial, documents = inputs
    dy, seq_idx = grad_y_BLHP, x if documents is None else documents
    made = prepare(inputs, plan)
    batch, chunks, tiles = plan.batch, plan.chunks, plan.tiles
    constants, products = plan.constants(documents is not None), plan.products()
    head_steps, state_steps = (*x.stride()[:2],), (*B.stride()[:2],)
    tile_P, tile_N = plan.state_tile()
    state_tiles = blocks(plan.head_dim, tile_P) * blocks(plan.state, tile_N)

    def new(*shape: int) -> Tensor:
        return x.new_empty(shape, dtype=plan.work)

    dstates_BcHPN = torch.empty_like(made.states_BcHPN)
    dinitial_BHPN = torch.empty_like(made.final_BHPN)
    kept_BHc = new(state_tiles, batch, plan.heads, chunks)
    direct_BHM, from_BHM, to_BHM = (torch.empty_like(made.dt_BHM) for _ in range(3))
    rows_KBHM, columns_RBHM = (new(tiles, *made.dt_BHM.shape) for _ in range(2))
    dscores_BcGQQ = torch.empty_like(made.scores_BcGQQ)
    dx, dB, dC = x.new_empty(x.shape), B.new_empty(B.shape), C.new_empty(C.shape)
    ddt = inputs.dt_BLH.new_empty(inputs.dt_BLH.shape)
    dD_XH, dA_XH = new(batch * chunks * tiles, plan.heads), new(batch * chunks, plan.heads)
    block_H = min(8, padded(plan.heads))
    whole = plan.whole()
    shared_tile = min(plan.tile, max(16, MOST_SHARED // whole["BLOCK_N"]))
    shared = {**products, **whole, "TILE": shared_tile}
    shared_grid = batch * chunks * (plan.size // shared_tile), plan.groups
    steps = made.dt_BHM, made.cum_BHM, seq_idx
    with on(x):
        pass_states[(state_tiles, plan.heads, batch)](
            dy, C, *steps, x if grad_final_BHPN is None else grad_final_BHPN, made.states_BcHPN,
            dstates_BcHPN, dinitial_BHPN, kept_BHc, plan.length, chunks, *dy.stride()[:2], *C.stride()[:2],
            BACK=True, GIVEN=grad_final_BHPN is not None, BLOCK_P=tile_P, BLOCK_N=tile_N, **constants, **products,
        )  # fmt: skip
        _inputs[(batch * chunks * tiles, plan.heads)](
            x, B, x if D is None else D, dy, *steps, made.scores_BcGQQ, dstates_BcHPN, dx, direct_BHM, dD_XH,
            plan.length, chunks, *head_steps, *state_steps, *dy.stride()[:2],
            SKIP=D is not None, BLOCK_P=whole["BLOCK_P"], BLOCK_N=tile_N, **constants, **products,
        )  # fmt: skip
        _scores[(batch * chunks, plan.groups, tiles**2)](
            x, dy, *steps, made.scores_BcGQQ, dscores_BcGQQ, rows_KBHM, columns_RBHM,
            batch, plan.length, chunks, *head_steps, *dy.stride()[:2],
            BLOCK_P=whole["BLOCK_P"], **constants, **products,
        )  # fmt: skip
        _shared[shared_grid](
            dy, B, C, *steps, dscores_BcGQQ, made.states_BcHPN, dC, from_BHM,
            plan.length, chunks, *dy.stride()[:2], *state_steps, *C.stride()[:2],
            OF_B=False, **constants, **shared,
        )  # fmt: skip
        _shared[shared_grid](
            x, C, B, *steps, dscores_BcGQQ, dstates_BcHPN, dB, to_BHM,
            plan.length, chunks, *head_steps, *C.stride()[:2], *state_steps,
            OF_B=True, **constants, **shared,
        )  # fmt: skip
        _steps[(batch * chunks, blocks(plan.heads, block_H))](
            A, made.dt_BHM, direct_BHM, rows_KBHM, columns_RBHM, from_BHM, to_BHM, kept_BHc, ddt, dA_XH,
            batch, plan.length, chunks, state_tiles,
            HEADS=plan.heads, CHUNK=plan.size, TILE=plan.tile, WORK=constants["WORK"], BLOCK_H=block_H,
        )  # fmt: skip
    dD_H = None if D is None else dD_XH.sum(0).to(D.dtype)
    dinitial_BHPN = None if initial is None else dinitial_BHPN.to(initial.dtype)
    return dx, ddt, dA_XH.sum(0).to(A.dtype), dB, dC, dD_H, dinitial_BHPN


class _Scan(Function):
    @staticmethod
    def forward(ctx, x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN, seq_idx_BL, chunk_size):
        inputs = ScanInputs(
            inner_dense(x_BLHP),
            inner_dense(dt_BLH),
            A_H.contiguous(),
            inner_dense(B_BLGN),
            inner_dense(C_BLGN),
            None if D_H is None else D_H.contiguous(),
            None if initial_state_BHPN is None else initial_state_BHPN.contiguous(),
            None if seq_idx_BL is None else seq_idx_BL.contiguous(),
        )
        ctx.save_for_backward(*inputs)
        ctx.chunk_size = chunk_size
        ctx.set_materialize_grads(False)
        return scan_forward(inputs, chunk_size)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y_BLHP, grad_final_BHPN):  # pyright: ignore[reportIncompatibleMethodOverride]
        inputs = ScanInputs(*ctx.saved_tensors)
        grad_y_BLHP = torch.zeros_like(inputs.x_BLHP) if grad_y_BLHP is None else inner_dense(grad_y_BLHP)
        grad_final_BHPN = None if grad_final_BHPN is None else grad_final_BHPN.contiguous()
        return *scan_backward(inputs, ctx.chunk_size, grad_y_BLHP, grad_final_BHPN), None, None


@untraced
def scan(x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN, seq_idx_BL, chunk_size) -> tuple[Tensor, Tensor]:
    """(y_BLHP, final state_BHPN), as kernels.ssd.ssd."""
    return _Scan.apply(x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN, seq_idx_BL, chunk_size)
