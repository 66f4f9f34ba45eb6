"""The `cpu` backend of kernels.distill_loss: products by torch, everything between them in csrc/distill.cpp.

Logits of a chunk of tokens are made once and turned into their gradient in place. Shape suffixes: T tokens (C of a
chunk), D student width, V vocabulary, K tokens kept of it.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kernels import native
from kernels.linear_loss_cpu import Gradients, Projection, by_chunks, new_gradients

KERNEL_KINDS = ("forward_kl", "reverse_kl", "mse", "cosine", "renormalise", "bucket")
"""In the kernel's order; those of `top_k_kl` by their tails."""


class _DistillArgs(native.Arguments):
    _fields_ = native.fields(
        "rows columns kind kept threads gradient",
        "logits teacher target ids log_probs log_tail losses entropies",
        doubles="scale ce_weight",
    )


class Kept(NamedTuple):
    """A teacher's most likely tokens."""

    ids_TK: Tensor
    log_probs_TK: Tensor
    log_tail_T: Tensor


class Distillation(NamedTuple):
    """A loss as the kernel takes it."""

    student: Projection
    teacher: Projection | Kept
    target_T: Tensor
    """Classes, negative where a token does not count."""

    kind: str
    """One of `KERNEL_KINDS`."""

    top_k: int
    scale: float
    """Of all logits, behind their cap: 1 / temperature."""

    ce_weight: float
    chunk_size: int


def losses_and_gradients(loss: Distillation, wanted: tuple[bool, bool]) -> tuple[Tensor, Tensor, Gradients]:
    """(sum of what is minimised, sum of the divergence in it, gradients of the first with respect to the student's
    hidden states and weight)."""
    hidden_TD = loss.student.hidden_TD
    losses_T, entropies_T = (hidden_TD.new_empty(len(hidden_TD)) for _ in range(2))
    gradients = new_gradients(loss.student, wanted)

    def differentiate(part: slice, logits_CV: Tensor) -> None:
        teacher_CV, seen = None, {}
        if isinstance(loss.teacher, Projection):
            teacher_CV = loss.teacher.logits(part)
        else:
            seen = {name: tensor[part] for name, tensor in loss.teacher._asdict().items()}
        arguments = _DistillArgs(
            rows=logits_CV.shape[0],
            columns=logits_CV.shape[1],
            kind=KERNEL_KINDS.index(loss.kind),
            kept=loss.top_k,
            threads=torch.get_num_threads(),
            gradient=int(gradients.wanted),
            scale=loss.scale,
            ce_weight=loss.ce_weight,
        )
        arguments.point(
            logits=logits_CV,
            teacher=teacher_CV,
            target=loss.target_T[part],
            ids=seen.get("ids_TK"),
            log_probs=seen.get("log_probs_TK"),
            log_tail=seen.get("log_tail_T"),
            losses=losses_T[part],
            entropies=entropies_T[part],
        )
        native.call("distill", logits_CV.dtype, arguments)

    by_chunks(loss.student, loss.chunk_size, gradients, differentiate)
    divergence = losses_T.sum()
    return divergence + loss.ce_weight * entropies_T.sum(), divergence, gradients


class _NativeDistillation(Function):
    """The gradients are made with the value and given away in the first backward pass; a second one makes them anew."""

    @staticmethod
    def forward(ctx, hidden_TD, weight_VD, loss):
        ctx.loss, ctx.wanted = loss, ctx.needs_input_grad[:2]
        total, divergence, ctx.gradients = losses_and_gradients(loss, ctx.wanted)
        ctx.mark_non_differentiable(divergence)
        return total, divergence

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_total, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            _, _, gradients = losses_and_gradients(ctx.loss, ctx.wanted)
        return *gradients.times(float(grad_total)), None


def distillation_loss(loss: Distillation) -> tuple[Tensor, Tensor]:
    """(what to differentiate in the student's hidden states and weight, the divergence in it)."""
    return _NativeDistillation.apply(loss.student.hidden_TD, loss.student.weight_VD, loss)
