"""Losses on the output of a linear projection to the vocabulary, without the logits of all tokens at once.

The tokens are taken in chunks: logits of a chunk are made, turned into its loss and, where a gradient is wanted,
into the gradient of its logits, which is multiplied into the gradients of hidden states and weights on the spot.
Memory is chunk * V, not T * V; the number of matrix products equals that of the unchunked loss. Gradients of the
weights are summed in at least float32.

Shape suffixes: T tokens, D hidden width, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from kernels import native, triton_support
from kernels.dispatch import Operation
from kernels.distill_terms import DenseTeacher
from kernels.distill_terms import Loss as Divergence
from kernels.linear_loss_cpu import Loss, Projection, linear_loss
from kernels.loss_chunks import (
    ChunkedLoss,
    ProjectionGradients,
    check_projection,
    chunks,
    default_chunk_size,
    projected_logits,
    uncapped_gradient,
)

CROSS_ENTROPY: Operation[Callable[..., Tensor]] = Operation("linear_cross_entropy")
KL: Operation[Callable[..., Tensor]] = Operation("linear_kl")


def linear_cross_entropy(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    target_T: Tensor,
    *,
    ignore_index: int = -100,
    cap: float | None = None,
    chunk_size: int | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Sum of -log softmax(hidden @ weight^T)[target] in nats over the tokens whose target is not `ignore_index`,
    and their number (an int64 scalar).

    With `cap`, logits are cap * tanh(hidden @ weight^T / cap). Differentiable once in hidden and weight. `chunk_size`
    (tokens) changes memory and rounding alone.
    Raises ValueError where shapes do not fit or a target lies outside the vocabulary.
    """
    check_projection("hidden_TD", hidden_TD, weight_VD)
    if target_T.shape != hidden_TD.shape[:1]:
        raise ValueError(f"target_T has shape {tuple(target_T.shape)} for {hidden_TD.shape[0]} tokens")
    counted_T = target_T != ignore_index
    outside = counted_T & ((target_T < 0) | (target_T >= weight_VD.shape[0]))
    if bool(outside.any()):
        bad = int(target_T[outside][0])
        raise ValueError(f"target_T holds {bad}, outside the vocabulary of {weight_VD.shape[0]}")
    target_T = target_T.masked_fill(~counted_T, -1)
    size = chunk_size or default_chunk_size(weight_VD)
    function = CROSS_ENTROPY.select(backend, hidden_TD.device, hidden_TD.dtype, weight_VD.dtype)
    total = function(hidden_TD, weight_VD, target_T, size, cap)
    return total, counted_T.sum()


def linear_kl(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    teacher_hidden_TD: Tensor,
    teacher_weight_VD: Tensor,
    *,
    temperature: float = 1.0,
    mask_T: Tensor | None = None,
    cap: float | None = None,
    teacher_cap: float | None = None,
    chunk_size: int | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Sum of KL(teacher || student) in nats over the tokens where `mask_T` is true (all if None), and their number.

    Both distributions are softmax(hidden @ weight^T / temperature) over the whole vocabulary; the widths D of
    teacher and student may differ. With `cap` and `teacher_cap`, their logits are capped as in `linear_cross_entropy`
    before the temperature divides them. No factor temperature^2 is applied. Differentiable once in the student's
    hidden and weight; the teacher gets no gradient. Raises ValueError where shapes do not fit.
    """
    check_projection("hidden_TD", hidden_TD, weight_VD)
    check_projection("teacher_hidden_TD", teacher_hidden_TD, teacher_weight_VD)
    if teacher_hidden_TD.shape[0] != hidden_TD.shape[0]:
        raise ValueError(f"teacher has {teacher_hidden_TD.shape[0]} tokens, student {hidden_TD.shape[0]}")
    if teacher_weight_VD.shape[0] != weight_VD.shape[0]:
        raise ValueError(f"teacher has {teacher_weight_VD.shape[0]} logits, student {weight_VD.shape[0]}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if mask_T is None:
        mask_T = torch.ones(hidden_TD.shape[0], dtype=torch.bool, device=hidden_TD.device)
    if mask_T.shape != hidden_TD.shape[:1] or mask_T.dtype != torch.bool:
        raise ValueError(f"mask_T must be boolean of shape ({hidden_TD.shape[0]},)")
    size = chunk_size or default_chunk_size(weight_VD)
    tensors = hidden_TD, weight_VD, teacher_hidden_TD.detach(), teacher_weight_VD.detach()
    function = KL.select(backend, hidden_TD.device, *(tensor.dtype for tensor in tensors))
    total = function(*tensors, temperature, mask_T, size, (cap, teacher_cap))
    return total, mask_T.sum()


@torch.no_grad()
def linear_token_losses(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    target_T: Tensor,
    *,
    cap: float | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """-log softmax(hidden @ weight^T)[target] of every token in nats, for evaluation: loss_T without gradient. Logits
    are capped as in `linear_cross_entropy`.

    Raises ValueError where shapes do not fit; every target must lie in the vocabulary.
    """
    check_projection("hidden_TD", hidden_TD, weight_VD)
    if target_T.shape != hidden_TD.shape[:1]:
        raise ValueError(f"target_T has shape {tuple(target_T.shape)} for {hidden_TD.shape[0]} tokens")
    size = chunk_size or default_chunk_size(weight_VD)
    losses = [
        cross_entropy(projected_logits(hidden_TD[part], weight_VD, cap), target_T[part], reduction="none")
        for part in chunks(hidden_TD.shape[0], size)
    ]
    return torch.cat(losses) if losses else hidden_TD.new_zeros(0)


@CROSS_ENTROPY.register("ref")
def _cross_entropy_ref(hidden_TD, weight_VD, target_T, size, cap):
    return cross_entropy(projected_logits(hidden_TD, weight_VD, cap), target_T, ignore_index=-1, reduction="sum")


@KL.register("ref")
def _kl_ref(hidden_TD, weight_VD, teacher_hidden_TD, teacher_weight_VD, temperature, mask_T, size, caps):
    student_TV = log_softmax(projected_logits(hidden_TD, weight_VD, caps[0]) / temperature, dim=-1)
    teacher_TV = log_softmax(projected_logits(teacher_hidden_TD, teacher_weight_VD, caps[1]) / temperature, dim=-1)
    return kl_div(student_TV[mask_T], teacher_TV[mask_T], reduction="sum", log_target=True)


class _ChunkedCrossEntropy(ChunkedLoss):
    @staticmethod
    def forward(ctx, hidden_TD, weight_VD, target_T, size, cap):
        gradients = ProjectionGradients(hidden_TD, weight_VD, ctx.needs_input_grad[:2])
        total = torch.zeros((), dtype=torch.promote_types(hidden_TD.dtype, torch.float32), device=hidden_TD.device)
        for part in chunks(hidden_TD.shape[0], size):
            counted_T = target_T[part] >= 0
            target_T1 = target_T[part].clamp(min=0)[:, None]
            logits_TV = projected_logits(hidden_TD[part], weight_VD, cap)
            log_probs_TV = log_softmax(logits_TV, dim=-1)
            logits_TV = logits_TV if cap is not None else None
            total -= (log_probs_TV.gather(1, target_T1).squeeze(1) * counted_T).sum()
            if gradients.wanted:
                grad_TV = log_probs_TV.exp_()
                grad_TV.scatter_add_(1, target_T1, grad_TV.new_full(target_T1.shape, -1.0))
                gradients.add(part, uncapped_gradient(grad_TV.mul_(counted_T[:, None]), logits_TV, cap))
        gradients.keep(ctx)
        return total


class _ChunkedKL(ChunkedLoss):
    @staticmethod
    def forward(ctx, hidden_TD, weight_VD, teacher_hidden_TD, teacher_weight_VD, temperature, mask_T, size, caps):
        gradients = ProjectionGradients(hidden_TD, weight_VD, ctx.needs_input_grad[:2])
        total = torch.zeros((), dtype=torch.promote_types(hidden_TD.dtype, torch.float32), device=hidden_TD.device)
        for part in chunks(hidden_TD.shape[0], size):
            mask_T1 = mask_T[part, None]
            student_TV = projected_logits(hidden_TD[part], weight_VD, caps[0])
            capped_TV = student_TV.clone() if caps[0] is not None else None
            student_TV = log_softmax(student_TV.div_(temperature), dim=-1)
            teacher_TV = projected_logits(teacher_hidden_TD[part], teacher_weight_VD, caps[1])
            teacher_TV = log_softmax(teacher_TV.div_(temperature), dim=-1)
            probs_TV = teacher_TV.exp()
            total += (teacher_TV.sub_(student_TV).mul_(probs_TV).sum(-1) * mask_T[part]).sum()
            if gradients.wanted:
                grad_TV = student_TV.exp_().sub_(probs_TV).mul_(mask_T1 / temperature)
                gradients.add(part, uncapped_gradient(grad_TV, capped_TV, caps[0]))
        gradients.keep(ctx)
        return total


@CROSS_ENTROPY.register("torch")
def _cross_entropy_torch(hidden_TD, weight_VD, target_T, size, cap):
    return _ChunkedCrossEntropy.apply(hidden_TD, weight_VD, target_T, size, cap)


@KL.register("torch")
def _kl_torch(hidden_TD, weight_VD, teacher_hidden_TD, teacher_weight_VD, *options):
    return _ChunkedKL.apply(hidden_TD, weight_VD, teacher_hidden_TD, teacher_weight_VD, *options)


@CROSS_ENTROPY.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _cross_entropy_cpu(hidden_TD, weight_VD, target_T, size, cap):
    student = Projection(hidden_TD, weight_VD, cap)
    return linear_loss(Loss(student, None, target_T.to(torch.int64).contiguous(), 1.0, size))


@KL.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _kl_cpu(hidden_TD, weight_VD, teacher_hidden_TD, teacher_weight_VD, temperature, mask_T, size, caps):
    student = Projection(hidden_TD, weight_VD, caps[0])
    teacher = Projection(teacher_hidden_TD, teacher_weight_VD, caps[1])
    return linear_loss(Loss(student, teacher, mask_T.to(torch.int64) - 1, 1 / temperature, size))


@CROSS_ENTROPY.register("triton", **triton_support.REGISTRATION)
def _cross_entropy_triton(*arguments):
    from kernels import linear_loss_triton

    return linear_loss_triton.cross_entropy(*arguments)


@KL.register("triton", **triton_support.REGISTRATION)
def _kl_triton(hidden_TD, weight_VD, teacher_hidden_TD, teacher_weight_VD, temperature, mask_T, size, caps):
    from kernels import distill_loss_triton

    teacher = DenseTeacher(hidden_TE=teacher_hidden_TD, weight_VE=teacher_weight_VD, cap=caps[1])
    loss = Divergence(temperature=temperature, cap=caps[0])
    return distill_loss_triton.distillation(hidden_TD, weight_VD, teacher, mask_T.to(torch.int64) - 1, loss, size)[0]
