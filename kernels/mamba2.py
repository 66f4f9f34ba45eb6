"""What a Mamba-2 mixer does between its two projections (arXiv 2405.21060, section 7.1), as one operation.

    [z | x | B | C | dt] -> convolution and SiLU on x, B, C -> SSD scan with softplus(dt + dt_bias) -> gated RMS norm

Shape suffixes: B batch, L length, H heads, P head dim, G groups, N state size, I = H * P inner width,
C = I + 2 * G * N convolved channels, E = I + C + H, K convolution width, S = K - 1, T = B * L.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from kernels import native, triton_support
from kernels.conv1d import MOST_TAPS, causal_conv1d, conv_backward, conv_forward, final_conv_state
from kernels.dispatch import Operation
from kernels.rmsnorm import gated_rms_norm, norm_backward, norm_forward
from kernels.ssd import ssd, ssd_step
from kernels.ssd_cpu import ScanGradients, scan_backward, scan_forward
from kernels.ssd_inputs import ScanInputs

MAMBA2: Operation[Callable[..., tuple[Tensor, Tensor, Tensor]]] = Operation("mamba2_mix")


class Weights(NamedTuple):
    """The parameters of a mixer, its projections aside."""

    conv_weight_CK: Tensor
    conv_bias_C: Tensor
    dt_bias_H: Tensor
    A_log_H: Tensor
    D_H: Tensor
    norm_weight_I: Tensor


class Settings(NamedTuple):
    """The numbers of a mixer that its parameters do not tell."""

    groups: int
    state_size: int
    eps: float
    chunk_size: int


class States(NamedTuple):
    """What precedes the sequence: inputs of the convolution (zeros if None) and the state of the scan (as well)."""

    conv_BSC: Tensor | None
    ssm_BHPN: Tensor | None


def mamba2_mix(
    zxBCdt_BLE: Tensor,
    weights: Weights,
    settings: Settings,
    *,
    states: States | None = None,
    seq_idx_BL: Tensor | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """(y_BLI, convolution state_BSC, state_BHPN); see `causal_conv1d`, `ssd` and `gated_rms_norm` for the parts.

    `seq_idx_BL` keeps documents apart. Raises ValueError where shapes do not fit.
    """
    channels = weights.conv_weight_CK.shape[0]
    inner = channels - 2 * settings.groups * settings.state_size
    heads = weights.A_log_H.shape[0]
    if inner < 1 or inner % heads or zxBCdt_BLE.shape[-1] != inner + channels + heads:
        raise ValueError(
            f"mamba2_mix: {zxBCdt_BLE.shape[-1]} channels of input do not fit {channels} convolved ones, {heads} "
            f"heads, {settings.groups} groups and states of {settings.state_size}"
        )
    states = states or States(None, None)
    given = (zxBCdt_BLE, *weights, *states)
    function = MAMBA2.select(backend, zxBCdt_BLE.device, *(tensor.dtype for tensor in given if tensor is not None))
    return function(zxBCdt_BLE, weights, settings, states, seq_idx_BL, backend)


@MAMBA2.register("ref")
@MAMBA2.register("torch")
@MAMBA2.register("triton", **triton_support.REGISTRATION)
def _mix_parts(zxBCdt_BLE, weights, settings, states, seq_idx_BL, backend):
    """The parts, one after the other, each by `backend`."""
    heads, channels = weights.A_log_H.shape[0], weights.conv_weight_CK.shape[0]
    width = settings.groups * settings.state_size
    inner = channels - 2 * width
    z_BLI, xBC_BLC, dt_BLH = zxBCdt_BLE.split([inner, channels, heads], dim=-1)
    xBC_BLC, conv_BSC = causal_conv1d(
        xBC_BLC,
        weights.conv_weight_CK,
        weights.conv_bias_C,
        initial_state_BSC=states.conv_BSC,
        seq_idx_BL=seq_idx_BL,
        backend=backend,
    )
    x, B, C = xBC_BLC.split([inner, width, width], dim=-1)
    x_BLHP = x.unflatten(-1, (heads, -1))
    B_BLGN, C_BLGN = (part.unflatten(-1, (settings.groups, -1)) for part in (B, C))
    dt_BLH = softplus(dt_BLH.to(weights.dt_bias_H.dtype) + weights.dt_bias_H)
    A_H = -weights.A_log_H.exp()
    if states.ssm_BHPN is not None and zxBCdt_BLE.shape[1] == 1:
        y_BHP, ssm_BHPN = ssd_step(
            x_BLHP[:, 0],
            dt_BLH[:, 0],
            A_H,
            B_BLGN[:, 0],
            C_BLGN[:, 0],
            states.ssm_BHPN,
            D_H=weights.D_H,
            backend=backend,
        )
        y_BLHP = y_BHP[:, None]
    else:
        y_BLHP, ssm_BHPN = ssd(
            x_BLHP,
            dt_BLH,
            A_H,
            B_BLGN,
            C_BLGN,
            D_H=weights.D_H,
            initial_state_BHPN=states.ssm_BHPN,
            seq_idx_BL=seq_idx_BL,
            chunk_size=settings.chunk_size,
            backend=backend,
        )
    y_BLI = gated_rms_norm(
        y_BLHP.flatten(-2),
        z_BLI,
        weights.norm_weight_I,
        group_size=inner // settings.groups,
        eps=settings.eps,
        backend=backend,
    )
    return y_BLI, conv_BSC, ssm_BHPN


@MAMBA2.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _mix_cpu(zxBCdt_BLE, weights, settings, states, seq_idx_BL, backend):
    if weights.conv_weight_CK.shape[1] > MOST_TAPS:
        return _mix_parts(zxBCdt_BLE, weights, settings, states, seq_idx_BL, "auto")
    differentiable = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (zxBCdt_BLE, *weights, *states)
    )
    if states.ssm_BHPN is not None and states.conv_BSC is not None and zxBCdt_BLE.shape[1] == 1 and not differentiable:
        return _step(zxBCdt_BLE, weights, settings, states)
    y_BLI, ssm_BHPN = _NativeMix.apply(zxBCdt_BLE, *weights, settings, *states, seq_idx_BL)
    channels, width = weights.conv_weight_CK.shape
    inner = channels - 2 * settings.groups * settings.state_size
    conv_BSC = final_conv_state(zxBCdt_BLE[..., inner : inner + channels], width, states.conv_BSC, seq_idx_BL)
    return y_BLI, conv_BSC, ssm_BHPN


class _StepArgs(native.Arguments):
    _fields_ = native.fields(
        "batch heads head_dim groups state width threads in_row",
        "input conv_weight conv_bias dt_bias A D norm_weight conv_state ssm_state y new_conv_state new_ssm_state mixed",
        doubles="eps",
    )


def _step(zxBCdt_BLE, weights, settings, states):
    batch, channels = zxBCdt_BLE.shape[0], weights.conv_weight_CK.shape[0]
    conv_BSC, ssm_BHPN = (state.contiguous() for state in states)
    zxBCdt_BE = zxBCdt_BLE[:, 0]
    y_BLI = zxBCdt_BLE.new_empty(batch, 1, weights.norm_weight_I.shape[0])
    new_conv_BSC, new_ssm_BHPN = torch.empty_like(conv_BSC), torch.empty_like(ssm_BHPN)
    kept = [weight.contiguous() for weight in weights]
    kept[3] = -kept[3].exp()
    mixed_BC = zxBCdt_BLE.new_empty(batch, channels)
    arguments = _StepArgs(
        batch=batch,
        heads=ssm_BHPN.shape[1],
        head_dim=ssm_BHPN.shape[2],
        groups=settings.groups,
        state=settings.state_size,
        width=weights.conv_weight_CK.shape[1],
        threads=torch.get_num_threads(),
        in_row=zxBCdt_BE.stride(0),
        eps=settings.eps,
    )
    arguments.point(
        input=zxBCdt_BE,
        conv_state=conv_BSC,
        ssm_state=ssm_BHPN,
        y=y_BLI,
        new_conv_state=new_conv_BSC,
        new_ssm_state=new_ssm_BHPN,
        mixed=mixed_BC,
        **dict(zip(("conv_weight", "conv_bias", "dt_bias", "A", "D", "norm_weight"), kept, strict=True)),
    )
    native.call("mamba2_step", zxBCdt_BLE.dtype, arguments)
    return y_BLI, new_conv_BSC, new_ssm_BHPN


class _NativeMix(Function):
    """The C++ kernels in a row; the gradient of the input is written by each of them into its part of one tensor."""

    @staticmethod
    def forward(ctx, zxBCdt_BLE, *rest):
        weights, (settings, conv_BSC, ssm_BHPN, seq_idx_BL) = Weights(*rest[:6]), rest[6:]
        weights = Weights(*(weight.contiguous() for weight in weights))
        zxBCdt_BLE = native.inner_dense(zxBCdt_BLE)
        conv_BSC, ssm_BHPN = (None if state is None else state.contiguous() for state in (conv_BSC, ssm_BHPN))
        if seq_idx_BL is not None:
            seq_idx_BL = seq_idx_BL.to(torch.int64).contiguous()
        z_BLI, in_BLC, raw_BLH = _parts(zxBCdt_BLE, weights)
        xBC_BLC = conv_forward(in_BLC, weights.conv_weight_CK, weights.conv_bias_C, conv_BSC, seq_idx_BL)
        before_BLH = raw_BLH + weights.dt_bias_H
        scan = _scan_inputs(xBC_BLC, before_BLH, weights, settings, ssm_BHPN, seq_idx_BL)
        keep = any(ctx.needs_input_grad)
        y_BLHP, final_BHPN, kept = scan_forward(scan, settings.chunk_size, keep=keep)
        group_size = z_BLI.shape[-1] // settings.groups
        out_TI = norm_forward(
            y_BLHP.view(-1, z_BLI.shape[-1]), _rows(z_BLI), weights.norm_weight_I, group_size, settings.eps
        )
        ctx.save_for_backward(zxBCdt_BLE, *weights, conv_BSC, ssm_BHPN, seq_idx_BL, xBC_BLC, before_BLH, y_BLHP, kept)
        ctx.settings = settings
        ctx.set_materialize_grads(False)
        return out_TI.view(z_BLI.shape), final_BHPN

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out_BLI, grad_final_BHPN):  # pyright: ignore[reportIncompatibleMethodOverride]
        zxBCdt_BLE, *rest, conv_BSC, ssm_BHPN, seq_idx_BL, xBC_BLC, before_BLH, y_BLHP, kept = ctx.saved_tensors
        weights, settings = Weights(*rest), ctx.settings
        z_BLI, in_BLC, _ = _parts(zxBCdt_BLE, weights)
        grad_BLE = zxBCdt_BLE.new_empty(zxBCdt_BLE.shape)
        grad_z_BLI, grad_in_BLC, grad_raw_BLH = _parts(grad_BLE, weights)
        if grad_out_BLI is None:
            grad_out_BLI = torch.zeros_like(z_BLI)
        inner = z_BLI.shape[-1]
        grad_y_BLHP = torch.empty_like(y_BLHP)
        grad_norm_I = norm_backward(
            y_BLHP.view(-1, inner),
            _rows(z_BLI),
            weights.norm_weight_I,
            inner // settings.groups,
            settings.eps,
            native.inner_dense(grad_out_BLI).reshape(-1, inner),
            grad_y_BLHP.view(-1, inner),
            _rows(grad_z_BLI),
        )
        scan = _scan_inputs(xBC_BLC, before_BLH, weights, settings, ssm_BHPN, seq_idx_BL)
        grad_xBC_BLC = torch.empty_like(xBC_BLC)
        grad_x_BLHP, grad_B_BLGN, grad_C_BLGN = _scanned(grad_xBC_BLC, weights, settings)
        per_row = (y_BLHP.shape[0], y_BLHP.shape[2])
        gradients = ScanGradients(
            grad_x_BLHP,
            torch.empty_like(before_BLH),
            y_BLHP.new_empty(per_row),
            grad_B_BLGN,
            grad_C_BLGN,
            y_BLHP.new_empty(per_row),
            None if ssm_BHPN is None else torch.empty_like(ssm_BHPN),
        )
        final = None if grad_final_BHPN is None else grad_final_BHPN.contiguous()
        scan_backward(scan, settings.chunk_size, kept, grad_y_BLHP, final, gradients)
        grad_raw_BLH.copy_(torch.ops.aten.softplus_backward(gradients.dt_BLH, before_BLH, 1, 20))  # fast if dense
        grad_weight_CK, grad_bias_C, grad_conv_BSC = conv_backward(
            in_BLC, weights.conv_weight_CK, weights.conv_bias_C, conv_BSC, seq_idx_BL, grad_xBC_BLC, grad_in_BLC
        )
        return (
            grad_BLE,
            grad_weight_CK,
            grad_bias_C,
            grad_raw_BLH.sum((0, 1)),
            gradients.A_BH.sum(0) * scan.A_H,
            gradients.D_BH.sum(0),
            grad_norm_I,
            None,
            grad_conv_BSC,
            gradients.initial_state_BHPN,
            None,
        )


def _parts(zxBCdt_BLE, weights):
    """z_BLI, xBC_BLC, dt_BLH as views."""
    channels, heads = weights.conv_weight_CK.shape[0], weights.A_log_H.shape[0]
    return zxBCdt_BLE.split([zxBCdt_BLE.shape[-1] - channels - heads, channels, heads], dim=-1)


def _rows(tensor_BLI):
    """(T, I) with the step of the rows, as a view of a slice of a dense tensor."""
    return tensor_BLI.flatten(0, 1)


def _scanned(xBC_BLC, weights, settings):
    """x_BLHP, B_BLGN, C_BLGN as views."""
    width = settings.groups * settings.state_size
    x, B, C = xBC_BLC.split([xBC_BLC.shape[-1] - 2 * width, width, width], dim=-1)
    shape = (settings.groups, settings.state_size)
    return x.unflatten(-1, (weights.A_log_H.shape[0], -1)), B.unflatten(-1, shape), C.unflatten(-1, shape)


def _scan_inputs(xBC_BLC, before_BLH, weights, settings, ssm_BHPN, seq_idx_BL):
    x_BLHP, B_BLGN, C_BLGN = _scanned(xBC_BLC, weights, settings)
    A_H = -weights.A_log_H.exp()
    return ScanInputs(x_BLHP, softplus(before_BLH), A_H, B_BLGN, C_BLGN, weights.D_H, ssm_BHPN, seq_idx_BL)
