"""The `cpu` backend of the SSD scan: csrc/ssd_*.cpp. Shape suffixes as in kernels.ssd."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kernels import native
from kernels.ssd_inputs import ScanInputs

MOST_CHUNK = 64
"""Positions of a chunk: what keeps the matrices of a chunk in the second-level cache, and is fastest."""

UNITS = 8
"""Heads of a group are divided among threads until there is this much to divide. By shape alone: the sums of dB and dC
over heads must not depend on the number of threads."""


class _SsdArgs(native.Arguments):
    _fields_ = native.fields(
        "batch length heads head_dim groups state chunk block threads "
        "x_batch x_row dt_batch dt_row B_batch B_row C_batch C_row y_batch y_row "
        "dx_batch dx_row ddt_batch ddt_row dB_batch dB_row dC_batch dC_row",
        "x dt A B C D initial seq_idx y final states dy dfinal dx ddt dA dB dC dD dinitial partial_B partial_C",
    )


class ScanGradients(NamedTuple):
    """Where the gradients go; dense as the inputs. A and D per batch row."""

    x_BLHP: Tensor
    dt_BLH: Tensor
    A_BH: Tensor
    B_BLGN: Tensor
    C_BLGN: Tensor
    D_BH: Tensor
    initial_state_BHPN: Tensor | None


def _arguments(inputs: ScanInputs, chunk_size: int) -> _SsdArgs:
    batch, length, heads, head_dim = inputs.x_BLHP.shape
    groups, state = inputs.B_BLGN.shape[2:]
    per_group = heads // groups
    parts = min(per_group, -(-UNITS // (batch * groups)))
    arguments = _SsdArgs(
        batch=batch,
        length=length,
        heads=heads,
        head_dim=head_dim,
        groups=groups,
        state=state,
        chunk=min(chunk_size, MOST_CHUNK),
        block=-(-per_group // parts),
        threads=torch.get_num_threads(),
    )
    for name, tensor in zip(("x", "dt", "B", "C"), (inputs.x_BLHP, inputs.dt_BLH, *inputs[3:5]), strict=True):
        arguments.rows(name, tensor)
    arguments.point(A=inputs.A_H, D=inputs.D_H, initial=inputs.initial_state_BHPN, seq_idx=inputs.seq_idx_BL)
    return arguments


def scan_forward(inputs: ScanInputs, chunk_size: int, *, keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """(y_BLHP, final state_BHPN, what `scan_backward` needs if `keep`)."""
    x_BLHP = inputs.x_BLHP
    arguments = _arguments(inputs, chunk_size)
    y_BLHP = x_BLHP.new_empty(x_BLHP.shape)
    final_BHPN = x_BLHP.new_empty(arguments.batch, arguments.heads, arguments.head_dim, arguments.state)
    states = None
    if keep:
        chunks = -(-arguments.length // min(arguments.chunk, arguments.length))
        columns = native.call("ssd_state_columns", x_BLHP.dtype, arguments.head_dim)
        states = x_BLHP.new_empty(arguments.batch, arguments.heads, chunks + 1, arguments.state, columns)
    arguments.rows("y", y_BLHP)
    arguments.point(final=final_BHPN, states=states)
    native.call("ssd_forward", x_BLHP.dtype, arguments)
    return y_BLHP, final_BHPN, states


def scan_backward(
    inputs: ScanInputs,
    chunk_size: int,
    states: Tensor,
    grad_y_BLHP: Tensor,
    grad_final_BHPN: Tensor | None,
    gradients: ScanGradients,
) -> None:
    """Fill `gradients`."""
    arguments = _arguments(inputs, chunk_size)
    arguments.rows("dy", grad_y_BLHP, "y")
    arguments.point(states=states, dfinal=grad_final_BHPN)
    for name, tensor in zip(("dx", "ddt"), gradients[:2], strict=True):
        arguments.rows(name, tensor)
    for name, tensor in zip(("dB", "dC"), gradients[3:5], strict=True):
        arguments.rows(name, tensor)
    arguments.point(dA=gradients.A_BH, dD=gradients.D_BH, dinitial=gradients.initial_state_BHPN)
    parts = -(-arguments.heads // arguments.groups // arguments.block)
    partial = None
    if parts > 1:
        partial = inputs.x_BLHP.new_empty(2, parts, *inputs.B_BLGN.shape)
        arguments.point(partial_B=partial[0], partial_C=partial[1])
    native.call("ssd_backward", inputs.x_BLHP.dtype, arguments)


class _Scan(Function):
    @staticmethod
    def forward(ctx, x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN, seq_idx_BL, chunk_size):
        inputs = ScanInputs(
            native.inner_dense(x_BLHP),
            native.inner_dense(dt_BLH),
            A_H.contiguous(),
            native.inner_dense(B_BLGN),
            native.inner_dense(C_BLGN),
            None if D_H is None else D_H.contiguous(),
            None if initial_state_BHPN is None else initial_state_BHPN.contiguous(),
            None if seq_idx_BL is None else seq_idx_BL.to(torch.int64).contiguous(),
        )
        y_BLHP, final_BHPN, states = scan_forward(inputs, chunk_size, keep=any(ctx.needs_input_grad))
        ctx.save_for_backward(*inputs, states)
        ctx.chunk_size = chunk_size
        ctx.set_materialize_grads(False)
        return y_BLHP, final_BHPN

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y_BLHP, grad_final_BHPN):  # pyright: ignore[reportIncompatibleMethodOverride]
        *saved, states = ctx.saved_tensors
        inputs = ScanInputs(*saved)
        x_BLHP, initial_BHPN = inputs.x_BLHP, inputs.initial_state_BHPN
        grad_y_BLHP = torch.zeros_like(x_BLHP) if grad_y_BLHP is None else grad_y_BLHP
        per_row = (x_BLHP.shape[0], x_BLHP.shape[2])
        gradients = ScanGradients(
            x_BLHP.new_empty(x_BLHP.shape),
            x_BLHP.new_empty(inputs.dt_BLH.shape),
            x_BLHP.new_empty(per_row),
            x_BLHP.new_empty(inputs.B_BLGN.shape),
            x_BLHP.new_empty(inputs.C_BLGN.shape),
            x_BLHP.new_empty(per_row),
            None if initial_BHPN is None else torch.empty_like(initial_BHPN),
        )
        final = None if grad_final_BHPN is None else grad_final_BHPN.contiguous()
        scan_backward(inputs, ctx.chunk_size, states, native.inner_dense(grad_y_BLHP), final, gradients)
        return (
            gradients.x_BLHP,
            gradients.dt_BLH,
            gradients.A_BH.sum(0),
            gradients.B_BLGN,
            gradients.C_BLGN,
            None if inputs.D_H is None else gradients.D_BH.sum(0),
            gradients.initial_state_BHPN,
            None,
            None,
        )


def scan(x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN, seq_idx_BL, chunk_size) -> tuple[Tensor, Tensor]:
    """(y_BLHP, final state_BHPN), as kernels.ssd.ssd."""
    return _Scan.apply(x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D_H, initial_state_BHPN, seq_idx_BL, chunk_size)
