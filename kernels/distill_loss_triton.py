"""The `triton` backend of the losses of kernels.distill_loss, and of kernels.linear_loss.linear_kl.

Products are torch's. What becomes of a chunk of logits is one kernel, in which a program takes one row: it reads both
rows twice (the reverse KL three times, `mse` once) and writes the gradient in the student's place. `top_k_kl` has torch
find the teacher's k largest logits and take out of both rows what belongs to them, and puts their gradients back: these
are small copies, and selection is what torch is fast at. Between them its kernel goes over the kept and the others.

Shape suffixes: T tokens, C tokens of a chunk, V vocabulary (of a block), K tokens kept of it (of a block).
"""

from dataclasses import replace
from typing import NamedTuple

import torch
import triton.language as tl
from torch import Tensor
from torch.nn.functional import linear

from kernels.distill_terms import NO_MASS, DenseTeacher, Loss, Teacher
from kernels.logits_triton import block, capped, load_logits, log_add, log_sum_exp, options, uncapped
from kernels.loss_chunks import ChunkedLoss, ProjectionGradients, chunks
from kernels.triton_support import kernel, on, untraced, work_dtype

LEAST_LOG = tl.constexpr(NO_MASS)


@kernel
def _reverse_kl(
    row_ptr, teacher_row_ptr, log_total, teacher_total, vocabulary, scale,
    CAP: tl.constexpr, TEACHER_CAP: tl.constexpr, WORK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    loss = tl.full((), 0.0, WORK)
    for start in range(0, vocabulary, BLOCK):
        at_V = start + tl.arange(0, BLOCK)
        inside_V = at_V < vocabulary
        log_q_V = load_logits(row_ptr, at_V, inside_V, 0.0, CAP, WORK) * scale - log_total
        log_p_V = load_logits(teacher_row_ptr, at_V, inside_V, 0.0, TEACHER_CAP, WORK) * scale - teacher_total
        loss += tl.sum(tl.where(inside_V, tl.exp(log_q_V) * (log_q_V - log_p_V), 0.0), 0)
    return loss


@kernel
def _cosine(
    row_ptr, teacher_row_ptr, vocabulary,
    CAP: tl.constexpr, TEACHER_CAP: tl.constexpr, WORK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """z u / (|z| |u|), and what its gradient -(along z - across u) consists of."""
    dot = tl.full((), 0.0, WORK)
    own_square, their_square = dot, dot
    for start in range(0, vocabulary, BLOCK):
        at_V = start + tl.arange(0, BLOCK)
        z_V = load_logits(row_ptr, at_V, at_V < vocabulary, 0.0, CAP, WORK)
        u_V = load_logits(teacher_row_ptr, at_V, at_V < vocabulary, 0.0, TEACHER_CAP, WORK)
        dot += tl.sum(z_V * u_V, 0)
        own_square += tl.sum(z_V * z_V, 0)
        their_square += tl.sum(u_V * u_V, 0)
    across = 1.0 / (tl.sqrt(own_square) * tl.sqrt(their_square))
    return dot * across, dot * across / own_square, across


@kernel
def _divergence(
    logits_ptr, teacher_ptr, target_ptr, loss_ptr, entropy_ptr, vocabulary, scale, ce_weight,
    KIND: tl.constexpr, LABELS: tl.constexpr, CAP: tl.constexpr, TEACHER_CAP: tl.constexpr,
    GRADIENT: tl.constexpr, WORK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    row_ptr, teacher_row_ptr = logits_ptr + row * vocabulary, teacher_ptr + row * vocabulary
    target = tl.load(target_ptr + row)
    counted = target >= 0
    loss = tl.full((), 0.0, WORK)
    log_labels, log_total, teacher_total, along, across = loss, loss, loss, loss, loss
    share = tl.full((), 1.0, WORK) / vocabulary
    if LABELS:
        own = capped(tl.load(row_ptr + tl.maximum(target, 0)).to(WORK), CAP)
        log_labels = log_sum_exp(row_ptr, vocabulary, 1.0, CAP, WORK, BLOCK)
        tl.store(entropy_ptr + row, tl.where(counted, log_labels - own, 0.0))
    if KIND == "forward_kl" or KIND == "reverse_kl":
        log_total = log_sum_exp(row_ptr, vocabulary, scale, CAP, WORK, BLOCK)
        teacher_total = log_sum_exp(teacher_row_ptr, vocabulary, scale, TEACHER_CAP, WORK, BLOCK)
    if KIND == "reverse_kl":
        loss = _reverse_kl(
            row_ptr, teacher_row_ptr, log_total, teacher_total, vocabulary, scale, CAP, TEACHER_CAP, WORK, BLOCK
        )
    if KIND == "cosine":
        cosine, along, across = _cosine(row_ptr, teacher_row_ptr, vocabulary, CAP, TEACHER_CAP, WORK, BLOCK)
        loss = 1.0 - cosine
    if GRADIENT or KIND == "forward_kl" or KIND == "mse":
        for start in range(0, vocabulary, BLOCK):
            at_V = start + tl.arange(0, BLOCK)
            inside_V = at_V < vocabulary
            z_V = load_logits(row_ptr, at_V, inside_V, 0.0, CAP, WORK)
            u_V = load_logits(teacher_row_ptr, at_V, inside_V, 0.0, TEACHER_CAP, WORK)
            if KIND == "mse":
                grad_V = (z_V - u_V) * (2.0 * share)
                loss += tl.sum((z_V - u_V) * (z_V - u_V), 0) * share
            elif KIND == "cosine":
                grad_V = z_V * along - u_V * across
            else:
                log_q_V, log_p_V = z_V * scale - log_total, u_V * scale - teacher_total
                q_V, p_V = tl.exp(log_q_V), tl.exp(log_p_V)
                if KIND == "reverse_kl":
                    grad_V = q_V * (log_q_V - log_p_V - loss) * scale
                else:
                    grad_V = (q_V - p_V) * scale
                    loss += tl.sum(tl.where(inside_V, p_V * (log_p_V - log_q_V), 0.0), 0)
            if GRADIENT:
                if LABELS:
                    grad_V += (tl.exp(z_V - log_labels) - tl.where(at_V == target, 1.0, 0.0)) * ce_weight
                grad_V = tl.where(counted, uncapped(grad_V, z_V, CAP), 0.0)
                tl.store(row_ptr + at_V, grad_V.to(logits_ptr.dtype.element_ty), mask=inside_V)
    tl.store(loss_ptr + row, tl.where(counted, loss, 0.0))


@kernel
def _kept_divergence(
    logits_ptr, kept_ptr, teacher_ptr, teacher_kept_ptr, tail_ptr, ids_ptr, own_ptr, target_ptr, loss_ptr, entropy_ptr,
    vocabulary, kept, scale, ce_weight,
    BUCKET: tl.constexpr, OTHERS: tl.constexpr, DENSE: tl.constexpr, KEPT_BLOCK: tl.constexpr,
    LABELS: tl.constexpr, CAP: tl.constexpr, TEACHER_CAP: tl.constexpr,
    GRADIENT: tl.constexpr, WORK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """In rows of logits, minus infinity stands for the kept. The teacher's are logits if DENSE, else log-probabilities
    with the log of all others'. OTHERS: not all are kept."""
    row = tl.program_id(0).to(tl.int64)
    row_ptr = logits_ptr + row * vocabulary
    kept_row_ptr, teacher_kept_row_ptr = kept_ptr + row * kept, teacher_kept_ptr + row * kept
    target = tl.load(target_ptr + row)
    counted = target >= 0
    loss = tl.full((), 0.0, WORK)
    log_labels, teacher_total, excess = loss, loss, loss
    if LABELS:
        log_labels = log_add(
            log_sum_exp(kept_row_ptr, kept, 1.0, CAP, WORK, KEPT_BLOCK),
            log_sum_exp(row_ptr, vocabulary, 1.0, CAP, WORK, BLOCK),
        )
        own = capped(tl.load(own_ptr + row).to(WORK), CAP)
        tl.store(entropy_ptr + row, tl.where(counted, log_labels - own, 0.0))
    log_total = log_sum_exp(kept_row_ptr, kept, scale, CAP, WORK, KEPT_BLOCK)
    if DENSE or not BUCKET:
        teacher_total = log_sum_exp(teacher_kept_row_ptr, kept, scale, TEACHER_CAP, WORK, KEPT_BLOCK)
    if BUCKET and OTHERS:
        log_others = log_sum_exp(row_ptr, vocabulary, scale, CAP, WORK, BLOCK)
        log_total = log_add(log_total, log_others)
        if DENSE:
            tail = log_sum_exp(teacher_ptr + row * vocabulary, vocabulary, scale, TEACHER_CAP, WORK, BLOCK)
            teacher_total = log_add(teacher_total, tail)
            tail -= teacher_total
        else:
            tail = tl.load(tail_ptr + row).to(WORK)
        tail = tl.where(tail < LEAST_LOG, LEAST_LOG, tail)
        excess = tail - (log_others - log_total)
        loss = tl.exp(tail) * excess
    for start in range(0, kept, KEPT_BLOCK):
        at_K = start + tl.arange(0, KEPT_BLOCK)
        inside_K = at_K < kept
        z_K = load_logits(kept_row_ptr, at_K, inside_K, 0.0, CAP, WORK)
        u_K = load_logits(teacher_kept_row_ptr, at_K, inside_K, 0.0, TEACHER_CAP, WORK)
        log_q_K, log_p_K = z_K * scale - log_total, u_K * scale - teacher_total
        p_K = tl.exp(log_p_K)
        loss += tl.sum(tl.where(inside_K, p_K * (log_p_K - log_q_K), 0.0), 0)
        if GRADIENT:
            grad_K = (tl.exp(log_q_K) - p_K) * scale
            if LABELS:
                chosen_K = tl.load(ids_ptr + row * kept + at_K, mask=inside_K, other=-1) == target
                grad_K += (tl.exp(z_K - log_labels) - tl.where(chosen_K, 1.0, 0.0)) * ce_weight
            grad_K = tl.where(counted, uncapped(grad_K, z_K, CAP), 0.0)
            tl.store(kept_row_ptr + at_K, grad_K.to(kept_ptr.dtype.element_ty), mask=inside_K)
    tl.store(loss_ptr + row, tl.where(counted, loss, 0.0))
    if GRADIENT:
        for start in range(0, vocabulary, BLOCK):
            at_V = start + tl.arange(0, BLOCK)
            inside_V = at_V < vocabulary
            z_V = load_logits(row_ptr, at_V, inside_V, 0.0, CAP, WORK)
            grad_V = tl.full((BLOCK,), 0.0, WORK)
            if BUCKET and OTHERS:
                log_q_V = z_V * scale - log_total
                grad_V += (tl.exp(log_q_V) - tl.exp(log_q_V + excess)) * scale
            if LABELS:
                grad_V += (tl.exp(z_V - log_labels) - tl.where(at_V == target, 1.0, 0.0)) * ce_weight
            grad_V = tl.where(counted, uncapped(grad_V, z_V, CAP), 0.0)
            tl.store(row_ptr + at_V, grad_V.to(logits_ptr.dtype.element_ty), mask=inside_V)


class _Chunk(NamedTuple):
    """Logits, which become their gradients, and what tokens have one of each."""

    z_CV: Tensor
    target_C: Tensor
    losses_C: Tensor
    entropies_C: Tensor


def _constants(loss: Loss, teacher: Teacher) -> dict[str, object]:
    cap = teacher.cap if isinstance(teacher, DenseTeacher) else None
    return {"LABELS": loss.ce_weight > 0, "CAP": loss.cap, "TEACHER_CAP": cap}


def _teacher_logits(teacher: DenseTeacher, part: slice) -> Tensor:
    """As they leave the product, without a cap."""
    return linear(teacher.hidden_TE[part], teacher.weight_VE.to(teacher.hidden_TE.dtype))


def _launch(chunk: _Chunk, teacher: DenseTeacher, part: slice, loss: Loss, gradient: bool) -> None:
    z_CV, target_C, losses_C, entropies_C = chunk
    _divergence[(len(z_CV),)](
        z_CV, _teacher_logits(teacher, part), target_C, losses_C, entropies_C,
        z_CV.shape[1], 1 / loss.temperature, loss.ce_weight,
        KIND=loss.kind, **_constants(loss, teacher), **options(z_CV, gradient=gradient),
    )  # fmt: skip


def _launch_kept(chunk: _Chunk, teacher: Teacher, part: slice, loss: Loss, gradient: bool) -> None:
    z_CV, target_C, losses_C, entropies_C = chunk
    vocabulary = z_CV.shape[1]
    if isinstance(teacher, DenseTeacher):
        u_CV, tail_C = _teacher_logits(teacher, part), None
        u_CK, ids_CK = u_CV.topk(loss.top_k, dim=-1)
        u_CV.scatter_(1, ids_CK, -torch.inf)
    else:
        seen, u_CV = teacher.of(part), None
        ids_CK, u_CK, tail_C = seen.ids_TK.long(), seen.log_probs_TK.contiguous(), seen.log_tail_T.contiguous()
    own_C = z_CV.gather(1, target_C.clamp(min=0)[:, None])
    z_CK = z_CV.gather(1, ids_CK)
    z_CV.scatter_(1, ids_CK, -torch.inf)
    kept = ids_CK.shape[1]
    _kept_divergence[(len(z_CV),)](
        z_CV, z_CK, u_CV, u_CK, tail_C, ids_CK.contiguous(), own_C, target_C, losses_C, entropies_C,
        vocabulary, kept, 1 / loss.temperature, loss.ce_weight,
        BUCKET=loss.tail == "bucket", OTHERS=kept < vocabulary, DENSE=u_CV is not None, KEPT_BLOCK=block(kept),
        **_constants(loss, teacher), **options(z_CV, gradient=gradient),
    )  # fmt: skip
    if gradient:
        z_CV.scatter_(1, ids_CK, z_CK)


class _Distillation(ChunkedLoss):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, hidden_TD, weight_VD, teacher, target_T, loss, size
    ):
        gradients = ProjectionGradients(hidden_TD, weight_VD, ctx.needs_input_grad[:2])
        losses_T, entropies_T = hidden_TD.new_zeros(2, len(hidden_TD), dtype=work_dtype(hidden_TD))
        for part in chunks(len(hidden_TD), size):
            z_CV = linear(hidden_TD[part], weight_VD.to(hidden_TD.dtype))
            chunk = _Chunk(z_CV, target_T[part], losses_T[part], entropies_T[part])
            with on(z_CV):
                launch = _launch_kept if loss.kind == "top_k_kl" else _launch
                launch(chunk, teacher, part, loss, gradients.wanted)
            if gradients.wanted:
                gradients.add(part, z_CV)
        gradients.keep(ctx)
        divergence = losses_T.sum()
        ctx.mark_non_differentiable(divergence)
        return divergence + loss.ce_weight * entropies_T.sum(), divergence


@untraced
def distillation(hidden_TD, weight_VD, teacher, target_T, loss, size) -> tuple[Tensor, Tensor]:
    """As kernels.distill_loss.linear_distillation; targets are -1 where none counts."""
    if isinstance(teacher, DenseTeacher):
        teacher = replace(teacher, hidden_TE=teacher.hidden_TE.detach(), weight_VE=teacher.weight_VE.detach())
    return _Distillation.apply(hidden_TD, weight_VD, teacher, target_T.contiguous(), loss, size)
