"""The `triton` backend of the losses on a projection: the products are torch's, what becomes of a chunk of logits is
one kernel, in which a program reads a row twice and writes its gradient in its place.

Shape suffixes as in kernels.linear_loss.
"""

import torch
import triton.language as tl
from torch import Tensor
from torch.nn.functional import linear

from kernels.loss_chunks import ChunkedLoss, ProjectionGradients, chunks
from kernels.triton_support import kernel, on, padded, triton_type, untraced, work_dtype

MOST_BLOCK = 4096
"""Logits that a program holds at once, at most."""


@kernel
def _log_sum_exp(row_ptr, vocabulary, scale, WORK: tl.constexpr, BLOCK: tl.constexpr):
    most = tl.full((), float("-inf"), WORK)
    total = tl.full((), 0.0, WORK)
    for start in range(0, vocabulary, BLOCK):
        at_V = start + tl.arange(0, BLOCK)
        logit_V = tl.load(row_ptr + at_V, mask=at_V < vocabulary, other=float("-inf")).to(WORK) * scale
        next_most = tl.maximum(most, tl.max(logit_V, 0))
        total = total * tl.exp(most - next_most) + tl.sum(tl.exp(logit_V - next_most), 0)
        most = next_most
    return most + tl.log(total)


@kernel
def _cross_entropy(
    logits_ptr, target_ptr, loss_ptr, vocabulary,
    GRADIENT: tl.constexpr, WORK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    row_ptr = logits_ptr + row * vocabulary
    target = tl.load(target_ptr + row)
    counted = target >= 0
    own = tl.load(row_ptr + tl.maximum(target, 0)).to(WORK)
    log_total = _log_sum_exp(row_ptr, vocabulary, 1.0, WORK, BLOCK)
    tl.store(loss_ptr + row, tl.where(counted, log_total - own, 0.0))
    if GRADIENT:
        for start in range(0, vocabulary, BLOCK):
            at_V = start + tl.arange(0, BLOCK)
            logit_V = tl.load(row_ptr + at_V, mask=at_V < vocabulary, other=0.0).to(WORK)
            grad_V = tl.exp(logit_V - log_total) - tl.where(at_V == target, 1.0, 0.0)
            grad_V = tl.where(counted, grad_V, 0.0)
            tl.store(row_ptr + at_V, grad_V.to(logits_ptr.dtype.element_ty), mask=at_V < vocabulary)


@kernel
def _kl(
    logits_ptr, teacher_ptr, mask_ptr, loss_ptr, vocabulary, scale,
    GRADIENT: tl.constexpr, WORK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    row_ptr, teacher_ptr = logits_ptr + row * vocabulary, teacher_ptr + row * vocabulary
    counted = tl.load(mask_ptr + row) != 0
    log_total = _log_sum_exp(row_ptr, vocabulary, scale, WORK, BLOCK)
    teacher_total = _log_sum_exp(teacher_ptr, vocabulary, scale, WORK, BLOCK)
    loss = tl.full((), 0.0, WORK)
    for start in range(0, vocabulary, BLOCK):
        at_V = start + tl.arange(0, BLOCK)
        inside_V = at_V < vocabulary
        log_prob_V = tl.load(row_ptr + at_V, mask=inside_V, other=0.0).to(WORK) * scale - log_total
        teacher_V = tl.load(teacher_ptr + at_V, mask=inside_V, other=0.0).to(WORK) * scale - teacher_total
        prob_V = tl.exp(teacher_V)
        loss += tl.sum(tl.where(inside_V, prob_V * (teacher_V - log_prob_V), 0.0), 0)
        if GRADIENT:
            grad_V = tl.where(counted, (tl.exp(log_prob_V) - prob_V) * scale, 0.0)
            tl.store(row_ptr + at_V, grad_V.to(logits_ptr.dtype.element_ty), mask=inside_V)
    tl.store(loss_ptr + row, tl.where(counted, loss, 0.0))


def _options(logits_TV: Tensor, *, gradient: bool) -> dict[str, object]:
    block = min(MOST_BLOCK, padded(logits_TV.shape[1]))
    work = triton_type(work_dtype(logits_TV))
    return {"GRADIENT": gradient, "WORK": work, "BLOCK": block, "num_warps": 8 if block >= 2048 else 4}


class _CrossEntropy(ChunkedLoss):
    @staticmethod
    def forward(ctx, hidden_TD, weight_VD, target_T, size):  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients = ProjectionGradients(hidden_TD, weight_VD, ctx.needs_input_grad[:2])
        total = torch.zeros((), dtype=work_dtype(hidden_TD), device=hidden_TD.device)
        for part in chunks(hidden_TD.shape[0], size):
            logits_TV = linear(hidden_TD[part], weight_VD.to(hidden_TD.dtype))
            losses_T = logits_TV.new_empty(logits_TV.shape[0], dtype=total.dtype)
            with on(logits_TV):
                _cross_entropy[(logits_TV.shape[0],)](
                    logits_TV, target_T[part], losses_T, logits_TV.shape[1],
                    **_options(logits_TV, gradient=gradients.wanted),
                )  # fmt: skip
            total += losses_T.sum()
            if gradients.wanted:
                gradients.add(part, logits_TV)
        gradients.keep(ctx)
        return total


class _KL(ChunkedLoss):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, hidden_TD, weight_VD, teacher_hidden_TD, teacher_weight_VD, temperature, mask_T, size
    ):
        gradients = ProjectionGradients(hidden_TD, weight_VD, ctx.needs_input_grad[:2])
        total = torch.zeros((), dtype=work_dtype(hidden_TD), device=hidden_TD.device)
        for part in chunks(hidden_TD.shape[0], size):
            logits_TV = linear(hidden_TD[part], weight_VD.to(hidden_TD.dtype))
            teacher_TV = linear(teacher_hidden_TD[part], teacher_weight_VD.to(teacher_hidden_TD.dtype))
            losses_T = logits_TV.new_empty(logits_TV.shape[0], dtype=total.dtype)
            with on(logits_TV):
                _kl[(logits_TV.shape[0],)](
                    logits_TV, teacher_TV, mask_T[part], losses_T, logits_TV.shape[1], 1 / temperature,
                    **_options(logits_TV, gradient=gradients.wanted),
                )  # fmt: skip
            total += losses_T.sum()
            if gradients.wanted:
                gradients.add(part, logits_TV)
        gradients.keep(ctx)
        return total


@untraced
def cross_entropy(hidden_TD, weight_VD, target_T, size) -> Tensor:
    """The summed loss, as kernels.linear_loss.linear_cross_entropy; targets are -1 where none counts."""
    return _CrossEntropy.apply(hidden_TD, weight_VD, target_T.contiguous(), size)


@untraced
def kl(hidden_TD, weight_VD, teacher_hidden_TD, teacher_weight_VD, temperature, mask_T, size) -> Tensor:
    """The summed divergence, as kernels.linear_loss.linear_kl."""
    mask_T = mask_T.to(torch.int8)
    return _KL.apply(hidden_TD, weight_VD, teacher_hidden_TD, teacher_weight_VD, temperature, mask_T, size)
