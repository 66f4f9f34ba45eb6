"""The `cpu` backend of kernels.mamba2: one step in one call, and a sequence as the C++ kernels in a row.

Shape suffixes as in kernels.mamba2.
"""

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from kernels import native
from kernels.conv1d import conv_backward, conv_forward
from kernels.mamba2_inputs import Weights
from kernels.rmsnorm import norm_backward, norm_forward
from kernels.ssd_cpu import ScanGradients, scan_backward, scan_forward
from kernels.ssd_inputs import ScanInputs


class _StepArgs(native.Arguments):
    _fields_ = native.fields(
        "batch heads head_dim groups state width threads in_row",
        "input conv_weight conv_bias dt_bias A D norm_weight conv_state ssm_state y new_conv_state new_ssm_state mixed",
        doubles="eps",
    )


def native_step(zxBCdt_BLE, weights, settings, states):
    """(y_BLI, new convolution state, new state of the scan) of one token, without gradients."""
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


class NativeMix(Function):
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
