"""Root-mean-square norms, in at least float32 whatever the type of the input.

Shape suffixes: any leading axes (written X), D normalised channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import silu

from kernels.dispatch import Operation

RMS_NORM: Operation[Callable[..., Tensor]] = Operation("rms_norm")
GATED_RMS_NORM: Operation[Callable[..., Tensor]] = Operation("gated_rms_norm")


def rms_norm(x_XD: Tensor, weight_D: Tensor, *, eps: float, backend: str = "auto") -> Tensor:
    """weight * x / sqrt(mean(x^2) + eps) over the last axis; the result has the type of x."""
    if tuple(weight_D.shape) != tuple(x_XD.shape[-1:]):
        raise ValueError(f"rms_norm: weight has shape {tuple(weight_D.shape)}, input {tuple(x_XD.shape)}")
    return RMS_NORM.select(backend, x_XD.device)(x_XD, weight_D, eps)


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
    return GATED_RMS_NORM.select(backend, x_XD.device)(x_XD, gate_XD, weight_D, group_size, eps)


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
