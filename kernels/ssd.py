"""The state-space dual (SSD) scan of Mamba-2 (Dao and Gu, arXiv 2405.21060, sections 6 and 7).

Per head, with a state S of shape (P, N):

    S_t = exp(dt_t * A) * S_{t-1} + dt_t * x_t B_t^T        y_t = S_t C_t + D * x_t

Shape suffixes: B batch, L length, H heads, P head dim, G groups, N state size; inside the chunked form
c chunks, Q positions of a chunk, R heads of a group (H = G * R, head h belongs to group h // R).
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn.functional import pad

from kernels import native, triton_support
from kernels.dispatch import Operation
from kernels.ssd_cpu import scan

SSD: Operation[Callable[..., tuple[Tensor, Tensor]]] = Operation("ssd")
SSD_STEP: Operation[Callable[..., tuple[Tensor, Tensor]]] = Operation("ssd_step")


def ssd(
    x_BLHP: Tensor,
    dt_BLH: Tensor,
    A_H: Tensor,
    B_BLGN: Tensor,
    C_BLGN: Tensor,
    *,
    D_H: Tensor | None = None,
    initial_state_BHPN: Tensor | None = None,
    seq_idx_BL: Tensor | None = None,
    chunk_size: int = 64,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Scan a sequence; returns (y_BLHP in the type of x, final state_BHPN in at least float32).

    dt is the step after softplus (positive), A is negative. `seq_idx_BL` (integers, constant inside a document
    and different in neighbouring ones) resets the state where it changes; the initial state belongs to the
    first document, the final one to the last. `chunk_size` changes speed and rounding alone.

    Raises ValueError where shapes do not fit.
    """
    batch, length, heads, head_dim = x_BLHP.shape
    groups, state_size = B_BLGN.shape[2:]
    expected = {
        "dt_BLH": (dt_BLH, (batch, length, heads)),
        "A_H": (A_H, (heads,)),
        "B_BLGN": (B_BLGN, (batch, length, groups, state_size)),
        "C_BLGN": (C_BLGN, (batch, length, groups, state_size)),
        "D_H": (D_H, (heads,)),
        "initial_state_BHPN": (initial_state_BHPN, (batch, heads, head_dim, state_size)),
        "seq_idx_BL": (seq_idx_BL, (batch, length)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"ssd: {name} has shape {tuple(tensor.shape)}, expected {shape}")
    if heads % groups:
        raise ValueError(f"ssd: {heads} heads do not divide into {groups} groups")
    if length < 1 or chunk_size < 1:
        raise ValueError(f"ssd: length {length} and chunk_size {chunk_size} must be positive")
    given = (x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN)
    function = SSD.select(backend, x_BLHP.device, *(tensor.dtype for tensor in given if tensor is not None))
    return function(x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN, seq_idx_BL, chunk_size)


def ssd_step(
    x_BHP: Tensor,
    dt_BH: Tensor,
    A_H: Tensor,
    B_BGN: Tensor,
    C_BGN: Tensor,
    state_BHPN: Tensor,
    *,
    D_H: Tensor | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """One step of the recurrence, for decoding; returns (y_BHP, new state_BHPN)."""
    given = (x_BHP, dt_BH, A_H, B_BGN, C_BGN, state_BHPN, D_H)
    function = SSD_STEP.select(backend, x_BHP.device, *(tensor.dtype for tensor in given if tensor is not None))
    return function(*given)


@SSD_STEP.register("ref")
@SSD_STEP.register("torch")
def _step_torch(x_BHP, dt_BH, A_H, B_BGN, C_BGN, state_BHPN, D_H):
    repeats = x_BHP.shape[1] // B_BGN.shape[1]
    work = torch.promote_types(x_BHP.dtype, torch.float32)
    x, dt, state_BHPN = x_BHP.to(work), dt_BH.to(work), state_BHPN.to(work)
    B_BHN = B_BGN.to(work).repeat_interleave(repeats, dim=1)
    C_BHN = C_BGN.to(work).repeat_interleave(repeats, dim=1)
    decay_BH = torch.exp(dt * A_H.to(work))
    state_BHPN = state_BHPN * decay_BH[..., None, None] + (dt[..., None] * x)[..., None] * B_BHN[:, :, None, :]
    y_BHP = (state_BHPN @ C_BHN[..., None]).squeeze(-1)
    if D_H is not None:
        y_BHP = y_BHP + D_H.to(work)[:, None] * x
    return y_BHP.to(x_BHP.dtype), state_BHPN


@SSD_STEP.register("triton", **triton_support.REGISTRATION)
def _step_triton(*given):
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in given):
        return _step_torch(*given)  # decoding needs no gradient: the kernel has none
    from kernels import ssd_step_triton

    return ssd_step_triton.step(*given)


@SSD.register("ref")
def _ssd_ref(x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN, seq_idx_BL, chunk_size):
    """The recurrence, one position at a time."""
    batch, length, heads, head_dim = x_BLHP.shape
    work = torch.promote_types(x_BLHP.dtype, torch.float32)
    state = initial_state_BHPN
    if state is None:
        state = x_BLHP.new_zeros(batch, heads, head_dim, B_BLGN.shape[-1], dtype=work)
    outputs = []
    for t in range(length):
        if seq_idx_BL is not None and t > 0:
            state = state * (seq_idx_BL[:, t] == seq_idx_BL[:, t - 1]).to(work)[:, None, None, None]
        y, state = _step_torch(x_BLHP[:, t], dt_BLH[:, t], A_H, B_BLGN[:, t], C_BLGN[:, t], state, D_H)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


@SSD.register("torch")
def _ssd_torch(x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN, seq_idx_BL, chunk_size):
    """The chunked form: matrix products inside chunks, a loop over chunks for the state.

    B and C stay at group level: C B^T is computed once per group, and the two products with the state take all
    heads of a group as one matrix. Decays are exponentials of differences of a cumulative sum inside the chunk,
    masked before the exponential, so that neither infinities nor their gradients arise.
    """
    batch, length, heads, head_dim = x_BLHP.shape
    groups, state_size = B_BLGN.shape[2:]
    repeats = heads // groups
    size = min(chunk_size, length)
    padding = -length % size
    chunks = (length + padding) // size
    work = torch.promote_types(x_BLHP.dtype, torch.float32)

    x, dt = x_BLHP.to(work), dt_BLH.to(work)
    xdt = x * dt[..., None]
    decay = dt * A_H.to(work)
    B, C = B_BLGN.to(work), C_BLGN.to(work)
    if padding:  # a padded step has dt = 0: it neither decays the state nor adds to it
        xdt, B, C = (pad(t, (0, 0, 0, 0, 0, padding)) for t in (xdt, B, C))
        decay = pad(decay, (0, 0, 0, padding))
    xdt_bcgrQP = xdt.view(batch, chunks, size, groups, repeats, head_dim).permute(0, 1, 3, 4, 2, 5)
    B_bcgQN = B.reshape(batch, chunks, size, groups, state_size).transpose(2, 3)
    C_bcgQN = C.reshape(batch, chunks, size, groups, state_size).transpose(2, 3)
    cum_bcgrQ = decay.view(batch, chunks, size, groups, repeats).permute(0, 1, 3, 4, 2).cumsum(-1)
    last_bcgr = cum_bcgrQ[..., -1]

    visible = torch.ones(size, size, dtype=torch.bool, device=x.device).tril()
    to_end = from_start = across = None
    if seq_idx_BL is not None:
        seq_bcQ = pad(seq_idx_BL, (0, padding), mode="constant") if padding else seq_idx_BL
        if padding:
            seq_bcQ[:, length:] = seq_idx_BL[:, -1:]
        seq_bcQ = seq_bcQ.view(batch, chunks, size)
        visible = visible & (seq_bcQ[..., :, None] == seq_bcQ[..., None, :])[:, :, None, None]
        end_bc = seq_bcQ[..., -1]
        before_bc = torch.cat([seq_idx_BL[:, :1], end_bc[:, :-1]], dim=1)
        to_end = (seq_bcQ == end_bc[..., None])[:, :, None, None, :]
        from_start = (seq_bcQ == before_bc[..., None])[:, :, None, None, :]
        across = (end_bc == before_bc)[:, :, None, None]

    # Inside chunks.
    scores_bcgQQ = C_bcgQN @ B_bcgQN.transpose(-1, -2)
    decay_bcgrQQ = (cum_bcgrQ[..., :, None] - cum_bcgrQ[..., None, :]).masked_fill(~visible, -torch.inf).exp()
    y_bcgrQP = (decay_bcgrQQ * scores_bcgQQ[:, :, :, None]) @ xdt_bcgrQP

    # What each chunk adds to the state, and the state before each chunk.
    weight_bcgrQ = (last_bcgr[..., None] - cum_bcgrQ).exp()
    if to_end is not None:
        weight_bcgrQ = weight_bcgrQ * to_end
    xw_bcgrPQ = (xdt_bcgrQP * weight_bcgrQ[..., None]).transpose(-1, -2)
    added = xw_bcgrPQ.reshape(batch, chunks, groups, repeats * head_dim, size) @ B_bcgQN
    added_bcgrPN = added.view(batch, chunks, groups, repeats, head_dim, state_size)
    carry_bcgr = last_bcgr.exp()
    if across is not None:
        carry_bcgr = carry_bcgr * across
    if initial_state_BHPN is None:
        state = added_bcgrPN.new_zeros(batch, groups, repeats, head_dim, state_size)
    else:
        state = initial_state_BHPN.to(work).reshape(batch, groups, repeats, head_dim, state_size)
    before = []
    for carry, new in zip(carry_bcgr.unbind(1), added_bcgrPN.unbind(1), strict=True):
        before.append(state)
        state = state * carry[..., None, None] + new
    state_bcgXN = torch.stack(before, dim=1).view(batch, chunks, groups, repeats * head_dim, state_size)

    # From the state before the chunk to the outputs.
    start_bcgrQ = cum_bcgrQ.exp()
    if from_start is not None:
        start_bcgrQ = start_bcgrQ * from_start
    off_bcgQX = C_bcgQN @ state_bcgXN.transpose(-1, -2)
    off_bcgrQP = off_bcgQX.view(batch, chunks, groups, size, repeats, head_dim).transpose(3, 4)
    y_bcgrQP = y_bcgrQP + off_bcgrQP * start_bcgrQ[..., None]

    y = y_bcgrQP.permute(0, 1, 4, 2, 3, 5).reshape(batch, chunks * size, heads, head_dim)[:, :length]
    if D_H is not None:
        y = y + D_H.to(work)[:, None] * x
    return y.to(x_BLHP.dtype), state.reshape(batch, heads, head_dim, state_size)


@SSD.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _ssd_cpu(*arguments):
    return scan(*arguments)


def _has_mamba_ssm(device: torch.device) -> bool:
    return triton_support.preferred(device) and find_spec("mamba_ssm") is not None


@SSD.register("mamba_ssm", usable=_has_mamba_ssm, dtypes=(torch.float32, torch.bfloat16, torch.float16), mixed=True)
def _ssd_mamba_ssm(x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN, seq_idx_BL, chunk_size):
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined  # pyright: ignore[reportMissingImports]

    if seq_idx_BL is not None:  # it takes the initial state for that of document 0
        seq_idx_BL = (seq_idx_BL - seq_idx_BL[:, :1]).to(torch.int32)
    return mamba_chunk_scan_combined(
        x_BLHP,
        dt_BLH,
        A_H,
        B_BLGN,
        C_BLGN,
        min(256, triton_support.padded(chunk_size, 16)),
        D=D_H,
        initial_states=initial_state_BHPN,
        seq_idx=seq_idx_BL,
        return_final_states=True,
    )


@SSD.register("triton", **triton_support.REGISTRATION)
def _ssd_triton(*arguments):
    from kernels import ssd_backward_triton

    return ssd_backward_triton.scan(*arguments)
