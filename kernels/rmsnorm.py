"""Root-mean-square norms, in at least float32 whatever the type of the input.

Shape suffixes: any leading axes (written X), D normalised channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from kernels import native, triton_support
from kernels.dispatch import Operation

RMS_NORM: Operation[Callable[..., Tensor]] = Operation("rms_norm")
GATED_RMS_NORM: Operation[Callable[..., Tensor]] = Operation("gated_rms_norm")


def rms_norm(x_XD: Tensor, weight_D: Tensor, *, eps: float, backend: str = "auto") -> Tensor:
    """weight * x / sqrt(mean(x^2) + eps) over the last axis; the result has the type of x."""
    if tuple(weight_D.shape) != tuple(x_XD.shape[-1:]):
        raise ValueError(f"rms_norm: weight has shape {tuple(weight_D.shape)}, input {tuple(x_XD.shape)}")
    return RMS_NORM.select(backend, x_XD.device, x_XD.dtype, weight_D.dtype)(x_XD, weight_D, eps)


def gated_rms_norm(
    x_XD: Tensor, gate_XD: Tensor, weight_D: Tensor, *, group_size: int, eps: float, backend: str = "auto"
) -> Tensor:
    """RMS norm of x * silu(gate) within groups of `group_size` neighbouring channels, times weight.

    The gate comes first, as in Mamba-2 with norm_before_gate=False. For a mixer with g groups the group size is
    d_inner / g. The result has the type of x. Raises ValueError where shapes do not fit.
    """
    if gate_XD.shape != x_XD.shape or tuple(weight_D.shape) != tuple(x_XD.shape[-1:]):
        shapes = [tuple(t.shape) for t in (x_XD, gate_XD, weight_D)]
        raise ValueError(f"gated_rms_norm: shapes of input, gate, weight do not fit: {shapes}")
    if group_size < 1 or x_XD.shape[-1] % group_size:
        raise ValueError(f"gated_rms_norm: {x_XD.shape[-1]} channels do not divide into groups of {group_size}")
    function = GATED_RMS_NORM.select(backend, x_XD.device, x_XD.dtype, gate_XD.dtype, weight_D.dtype)
    return function(x_XD, gate_XD, weight_D, group_size, eps)


@RMS_NORM.register("ref")
def _rms_norm_ref(x_XD, weight_D, eps):
    x = x_XD.to(torch.promote_types(x_XD.dtype, torch.float32))
    return (weight_D * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()).to(x_XD.dtype)


@RMS_NORM.register("torch")
def _rms_norm_torch(x_XD, weight_D, eps):
    work = torch.promote_types(x_XD.dtype, torch.float32)
    return torch.nn.functional.rms_norm(x_XD.to(work), weight_D.shape, weight_D.to(work), eps).to(x_XD.dtype)


@GATED_RMS_NORM.register("ref")
def _gated_rms_norm_ref(x_XD, gate_XD, weight_D, group_size, eps):
    work = torch.promote_types(x_XD.dtype, torch.float32)
    y = x_XD.to(work) * silu(gate_XD.to(work))
    groups = [part / (part.square().mean(-1, keepdim=True) + eps).sqrt() for part in y.split(group_size, dim=-1)]
    return (weight_D * torch.cat(groups, dim=-1)).to(x_XD.dtype)


@GATED_RMS_NORM.register("torch")
def _gated_rms_norm_torch(x_XD, gate_XD, weight_D, group_size, eps):
    work = torch.promote_types(x_XD.dtype, torch.float32)
    y = x_XD.to(work) * silu(gate_XD.to(work))
    y = torch.nn.functional.rms_norm(y.unflatten(-1, (-1, group_size)), (group_size,), None, eps)
    return (y.flatten(-2) * weight_D.to(work)).to(x_XD.dtype)


class _NormArgs(native.Arguments):
    _fields_ = native.fields(
        "rows width group blocks threads x_row gate_row y_row dx_row dgate_row",
        "x gate weight y dy dx dgate dweight",
        doubles="eps",
    )


BLOCK_ROWS = 64
"""Gradients of the weight are summed within so many rows, then over these blocks, whatever the number of threads."""


def _arguments(x_TD, gate_TD, weight_D, group_size, eps) -> _NormArgs:
    arguments = _NormArgs(
        rows=x_TD.shape[0], width=x_TD.shape[1], group=group_size, threads=torch.get_num_threads(), eps=eps
    )
    arguments.point(x=x_TD, gate=gate_TD, weight=weight_D)
    arguments.x_row = x_TD.stride(0)
    arguments.gate_row = 0 if gate_TD is None else gate_TD.stride(0)
    return arguments


def norm_forward(x_TD, gate_TD, weight_D, group_size, eps) -> Tensor:
    """y_TD of the C++ kernel (no gate: None). Inputs are dense in their last axis."""
    y_TD = x_TD.new_empty(x_TD.shape)
    arguments = _arguments(x_TD, gate_TD, weight_D, group_size, eps)
    arguments.point(y=y_TD)
    arguments.y_row = y_TD.stride(0)
    native.call("norm_forward", x_TD.dtype, arguments)
    return y_TD


def norm_backward(x_TD, gate_TD, weight_D, group_size, eps, grad_y_TD, grad_x_TD, grad_gate_TD) -> Tensor:
    """Fills the gradients of x and gate; returns that of the weight."""
    arguments = _arguments(x_TD, gate_TD, weight_D, group_size, eps)
    arguments.blocks = -(-x_TD.shape[0] // BLOCK_ROWS)
    grad_weight_KD = x_TD.new_empty(arguments.blocks, x_TD.shape[1])
    arguments.point(dy=grad_y_TD, dx=grad_x_TD, dgate=grad_gate_TD, dweight=grad_weight_KD)
    arguments.y_row, arguments.dx_row = grad_y_TD.stride(0), grad_x_TD.stride(0)
    arguments.dgate_row = 0 if gate_TD is None else grad_gate_TD.stride(0)
    native.call("norm_backward", x_TD.dtype, arguments)
    return grad_weight_KD.sum(0)


def as_rows(tensor_XD: Tensor) -> Tensor:
    """The tensor as rows_TD, dense in the last axis; a view where strides allow."""
    rows_TD = tensor_XD.reshape(-1, tensor_XD.shape[-1])
    return rows_TD if rows_TD.stride(-1) == 1 else rows_TD.contiguous()


class _NativeNorm(Function):
    @staticmethod
    def forward(ctx, x_XD, gate_XD, weight_D, group_size, eps):
        x_TD, gate_TD = as_rows(x_XD), None if gate_XD is None else as_rows(gate_XD)
        weight_D = weight_D.contiguous()
        ctx.save_for_backward(x_TD, gate_TD, weight_D)
        ctx.options = group_size, eps
        return norm_forward(x_TD, gate_TD, weight_D, group_size, eps).view(x_XD.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_XD):  # pyright: ignore[reportIncompatibleMethodOverride]
        x_TD, gate_TD, weight_D = ctx.saved_tensors
        grad_TD = as_rows(grad_XD)
        grad_x_TD = grad_TD.new_empty(grad_TD.shape)
        grad_gate_TD = None if gate_TD is None else grad_TD.new_empty(grad_TD.shape)
        group_size, eps = ctx.options
        grad_weight_D = norm_backward(x_TD, gate_TD, weight_D, group_size, eps, grad_TD, grad_x_TD, grad_gate_TD)
        grad_gate_XD = None if grad_gate_TD is None else grad_gate_TD.view(grad_XD.shape)
        return grad_x_TD.view(grad_XD.shape), grad_gate_XD, grad_weight_D, None, None


@RMS_NORM.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _rms_norm_cpu(x_XD, weight_D, eps):
    if not torch.is_grad_enabled():
        return norm_forward(as_rows(x_XD), None, weight_D.contiguous(), x_XD.shape[-1], eps).view(x_XD.shape)
    return _NativeNorm.apply(x_XD, None, weight_D, x_XD.shape[-1], eps)


@GATED_RMS_NORM.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _gated_rms_norm_cpu(x_XD, gate_XD, weight_D, group_size, eps):
    return _NativeNorm.apply(x_XD, gate_XD, weight_D, group_size, eps)


@RMS_NORM.register("triton", **triton_support.REGISTRATION)
def _rms_norm_triton(x_XD, weight_D, eps):
    from kernels import rmsnorm_triton

    return rmsnorm_triton.norm(x_XD, None, weight_D, x_XD.shape[-1], eps)


@GATED_RMS_NORM.register("triton", **triton_support.REGISTRATION)
def _gated_rms_norm_triton(x_XD, gate_XD, weight_D, group_size, eps):
    from kernels import rmsnorm_triton

    return rmsnorm_triton.norm(x_XD, gate_XD, weight_D, group_size, eps)
