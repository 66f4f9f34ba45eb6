"""What a Mamba-2 mixer does between its two projections (arXiv 2405.21060, section 7.1), as one operation.

    [z | x | B | C | dt] -> convolution and SiLU on x, B, C -> SSD scan with softplus(dt + dt_bias) -> gated RMS norm

Shape suffixes: B batch, L length, H heads, P head dim, G groups, N state size, I = H * P inner width,
C = I + 2 * G * N convolved channels, E = I + C + H, K convolution width, S = K - 1, T = B * L.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from kernels import native, triton_support
from kernels.conv1d import MOST_TAPS, causal_conv1d, final_conv_state
from kernels.dispatch import Operation
from kernels.mamba2_cpu import NativeMix, native_step
from kernels.mamba2_inputs import Settings, States, Weights
from kernels.rmsnorm import gated_rms_norm
from kernels.ssd import ssd, ssd_step

MAMBA2: Operation[Callable[..., tuple[Tensor, Tensor, Tensor]]] = Operation("mamba2_mix")


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
        return native_step(zxBCdt_BLE, weights, settings, states)
    y_BLI, ssm_BHPN = NativeMix.apply(zxBCdt_BLE, *weights, settings, *states, seq_idx_BL)
    channels, width = weights.conv_weight_CK.shape
    inner = channels - 2 * settings.groups * settings.state_size
    conv_BSC = final_conv_state(zxBCdt_BLE[..., inner : inner + channels], width, states.conv_BSC, seq_idx_BL)
    return y_BLI, conv_BSC, ssm_BHPN
