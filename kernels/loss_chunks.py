"""What the losses on a projection to the vocabulary share: tokens in chunks, their logits, and the sums of gradients.

Shape suffixes: T tokens (of all, or of a chunk), D hidden width, V vocabulary.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from kernels.softcap import softcap, softcap_gradient_

# Logits held at once: 8 MiB of float32 on a CPU (fewer do not repay reading the weights, more leave the caches),
# 256 MiB elsewhere.
CHUNK_LOGITS_CPU = 2**21
CHUNK_LOGITS = 2**26


def check_projection(name: str, hidden_TD: Tensor, weight_VD: Tensor) -> None:
    """Raises ValueError that calls the hidden states `name` where the two do not fit."""
    if hidden_TD.ndim != 2 or weight_VD.ndim != 2 or hidden_TD.shape[1] != weight_VD.shape[1]:
        shapes = tuple(hidden_TD.shape), tuple(weight_VD.shape)
        raise ValueError(f"{name} and its weight have shapes {shapes[0]} and {shapes[1]}: (T, D) and (V, D) expected")


def default_chunk_size(weight_VD: Tensor) -> int:
    """Tokens of a chunk where the caller leaves the choice."""
    logits = CHUNK_LOGITS_CPU if weight_VD.device.type == "cpu" else CHUNK_LOGITS
    return max(1, logits // weight_VD.shape[0])


def chunks(length: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that make up `length`."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def projected_logits(hidden_TD: Tensor, weight_VD: Tensor, cap: float | None) -> Tensor:
    """(Capped) logits_TV in at least float32, from a product in the type of the inputs."""
    logits_TV = linear(hidden_TD, weight_VD.to(hidden_TD.dtype))
    return softcap(logits_TV.to(torch.promote_types(logits_TV.dtype, torch.float32)), cap)


def uncapped_gradient(grad_TV: Tensor, capped_TV: Tensor | None, cap: float | None) -> Tensor:
    """The gradient of logits from that of capped ones, in place; `capped_TV` is overwritten."""
    return grad_TV if cap is None or capped_TV is None else softcap_gradient_(grad_TV, capped_TV, cap)


class ProjectionGradients:
    """Gradients of hidden and weight, summed from the gradients of the chunks' logits."""

    def __init__(self, hidden_TD: Tensor, weight_VD: Tensor, wanted: tuple[bool, bool]) -> None:
        self.hidden_TD, self.weight_VD = hidden_TD, weight_VD
        self.wanted = any(wanted)
        work = torch.promote_types(weight_VD.dtype, torch.float32)
        self.grad_hidden_TD = torch.zeros_like(hidden_TD) if wanted[0] else None
        self.grad_weight_VD = torch.zeros_like(weight_VD, dtype=work) if wanted[1] else None

    def add(self, part: slice, grad_logits_TV: Tensor) -> None:
        grad_TV = grad_logits_TV.to(self.hidden_TD.dtype)
        if self.grad_hidden_TD is not None:
            self.grad_hidden_TD[part] = grad_TV @ self.weight_VD.to(grad_TV.dtype)
        if self.grad_weight_VD is not None:
            if self.grad_weight_VD.dtype == grad_TV.dtype:
                self.grad_weight_VD.addmm_(grad_TV.T, self.hidden_TD[part])
            else:
                self.grad_weight_VD += grad_TV.T @ self.hidden_TD[part]

    def keep(self, ctx) -> None:
        """For the backward pass of a `ChunkedLoss`."""
        ctx.save_for_backward(self.grad_hidden_TD, self.grad_weight_VD)
        ctx.weight_dtype = self.weight_VD.dtype


class ChunkedLoss(Function):
    """A loss whose first two inputs are hidden_TD and weight_VD, and whose forward pass keeps their gradients."""

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_total, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_hidden_TD, grad_weight_VD = ctx.saved_tensors
        if grad_hidden_TD is not None:
            grad_hidden_TD = grad_hidden_TD * grad_total.to(grad_hidden_TD.dtype)
        if grad_weight_VD is not None:
            grad_weight_VD = (grad_weight_VD * grad_total).to(ctx.weight_dtype)
        others = len(ctx.needs_input_grad) - 2
        return grad_hidden_TD, grad_weight_VD, *[None] * others
