"""Distillation losses on the outputs of two projections to the vocabulary, without the logits of all tokens at once.

With student logits z, teacher logits u, temperature T, q = softmax(z / T), p = softmax(u / T), per token:

| kind       | value                                                                                      |
|------------|--------------------------------------------------------------------------------------------|
| forward_kl | sum p (log p - log q)                                                                      |
| reverse_kl | sum q (log q - log p)                                                                      |
| mse        | mean over the vocabulary of (z - u)^2                                                      |
| cosine     | 1 - z u / (|z| |u|)                                                                        |
| top_k_kl   | forward KL over the teacher's k most likely tokens. `tail="renormalise"`: both             |
|            | distributions are renormalised over these; `"bucket"`: all others together are one outcome |

`top_k_kl` is `forward_kl` at k = V, with either tail. `mse` and `cosine` know no temperature, and no factor T^2 is
applied. `ce_weight` adds so many times the cross-entropy of the labels, at temperature 1, from the same logits.

Each kind gives the gradient of its logits in closed form beside its value, so that a chunk of tokens goes through the
vocabulary once (see kernels.linear_loss). Shape suffixes: T tokens, C tokens of a chunk, D student width, E teacher
width, V vocabulary, K tokens kept of the vocabulary.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, log_softmax

from kernels import native, triton_support
from kernels.dispatch import Operation
from kernels.distill_chunks import cross_entropy as chunk_cross_entropy
from kernels.distill_chunks import divergence as chunk_divergence
from kernels.distill_loss_cpu import Distillation, Kept, distillation_loss
from kernels.distill_terms import KINDS, NO_MASS, TAILS, DenseTeacher, Loss, Teacher, TopK, most_likely
from kernels.linear_loss_cpu import Projection
from kernels.loss_chunks import (
    ChunkedLoss,
    ProjectionGradients,
    check_projection,
    chunks,
    default_chunk_size,
    projected_logits,
    uncapped_gradient,
)

DISTILLATION: Operation[Callable[..., tuple[Tensor, Tensor]]] = Operation("linear_distillation")


def linear_distillation(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    teacher: Teacher,
    target_T: Tensor,
    *,
    loss: Loss,
    ignore_index: int = -100,
    chunk_size: int | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """(what to differentiate, the divergence from the teacher in it), each a sum over the tokens whose target is not
    `ignore_index`. Differentiable once in the student's hidden and weight; the teacher gets no gradient.

    A `TopK` teacher serves `top_k_kl` at temperature 1 alone. Raises ValueError where shapes do not fit, a target lies
    outside the vocabulary, or the loss makes no sense.
    """
    check_projection("hidden_TD", hidden_TD, weight_VD)
    _check(hidden_TD, weight_VD, teacher, target_T, loss)
    counted_T = target_T != ignore_index
    outside = counted_T & ((target_T < 0) | (target_T >= weight_VD.shape[0]))
    if bool(outside.any()):
        raise ValueError(f"target_T holds {int(target_T[outside][0])}, outside the vocabulary of {weight_VD.shape[0]}")
    theirs = (teacher.hidden_TE.dtype, teacher.weight_VE.dtype) if isinstance(teacher, DenseTeacher) else ()
    function = DISTILLATION.select(backend, hidden_TD.device, hidden_TD.dtype, weight_VD.dtype, *theirs)
    size = chunk_size or default_chunk_size(weight_VD)
    return function(hidden_TD, weight_VD, teacher, target_T.masked_fill(~counted_T, -1), loss, size)


def _check(hidden_TD: Tensor, weight_VD: Tensor, teacher: Teacher, target_T: Tensor, loss: Loss) -> None:
    tokens, vocabulary = hidden_TD.shape[0], weight_VD.shape[0]
    if loss.kind not in KINDS or loss.tail not in TAILS:
        raise ValueError(f"no loss {loss.kind!r} with tail {loss.tail!r}; there are {KINDS} and {TAILS}")
    if not loss.temperature > 0 or not loss.ce_weight >= 0:
        raise ValueError(f"temperature must be positive and ce_weight at least 0, got {loss}")
    if target_T.shape != (tokens,):
        raise ValueError(f"target_T has shape {tuple(target_T.shape)} for {tokens} tokens")
    if isinstance(teacher, TopK):
        if loss.kind != "top_k_kl" or loss.temperature != 1:
            raise ValueError(f"the most likely tokens alone serve top_k_kl at temperature 1, not {loss}")
        found = len(teacher.ids_TK), len(teacher.log_probs_TK), len(teacher.log_tail_T)
        if set(found) != {tokens}:
            raise ValueError(f"teacher has {found} tokens, student {tokens}")
        return
    check_projection("teacher hidden_TE", teacher.hidden_TE, teacher.weight_VE)
    if teacher.hidden_TE.shape[0] != tokens:
        raise ValueError(f"teacher has {teacher.hidden_TE.shape[0]} tokens, student {tokens}")
    if teacher.weight_VE.shape[0] != vocabulary:
        raise ValueError(f"teacher has {teacher.weight_VE.shape[0]} logits, student {vocabulary}")
    if loss.kind == "top_k_kl" and not 1 <= loss.top_k <= vocabulary:
        raise ValueError(f"top_k must be 1 to the vocabulary of {vocabulary}, got {loss.top_k}")


@torch.no_grad()
def linear_most_likely(
    hidden_TD: Tensor, weight_VD: Tensor, k: int, *, cap: float | None = None, chunk_size: int | None = None
) -> TopK:
    """The k most likely tokens of softmax(hidden @ weight^T) for each token, logits of a chunk at a time, capped as in
    `linear_cross_entropy`."""
    check_projection("hidden_TD", hidden_TD, weight_VD)
    size = chunk_size or default_chunk_size(weight_VD)
    parts = [
        most_likely(projected_logits(hidden_TD[part], weight_VD, cap), k) for part in chunks(hidden_TD.shape[0], size)
    ]
    ids_TK, log_probs_TK, log_tail_T = (
        torch.cat(found)
        for found in zip(*((part.ids_TK, part.log_probs_TK, part.log_tail_T) for part in parts), strict=True)
    )
    return TopK(ids_TK=ids_TK, log_probs_TK=log_probs_TK, log_tail_T=log_tail_T)


# The oracle: whole logits, torch's own derivatives.


def _reference(z_TV: Tensor, teacher: Tensor | TopK, loss: Loss) -> Tensor:
    if loss.kind == "top_k_kl":
        if isinstance(teacher, Tensor):
            teacher = most_likely(teacher, loss.top_k, temperature=loss.temperature)
        z_TK = (z_TV / loss.temperature).gather(1, teacher.ids_TK)
        if loss.tail == "renormalise":
            log_p_TK, log_q_TK = teacher.log_probs_TK.log_softmax(-1), z_TK.log_softmax(-1)
            return (log_p_TK.exp() * (log_p_TK - log_q_TK)).sum(-1)
        log_q_TV = log_softmax(z_TV / loss.temperature, dim=-1)
        value_T = (teacher.log_probs_TK.exp() * (teacher.log_probs_TK - log_q_TV.gather(1, teacher.ids_TK))).sum(-1)
        if teacher.ids_TK.shape[1] < z_TV.shape[1]:
            log_rest_T = log_q_TV.scatter(1, teacher.ids_TK, -torch.inf).logsumexp(-1)
            log_tail_T = teacher.log_tail_T.clamp(min=NO_MASS)
            value_T = value_T + log_tail_T.exp() * (log_tail_T - log_rest_T)
        return value_T
    assert isinstance(teacher, Tensor)
    if loss.kind == "mse":
        return (z_TV - teacher).square().mean(-1)
    if loss.kind == "cosine":
        return 1 - cosine_similarity(z_TV, teacher, dim=-1, eps=0.0)
    log_q_TV, log_p_TV = (log_softmax(value / loss.temperature, dim=-1) for value in (z_TV, teacher))
    if loss.kind == "reverse_kl":
        return (log_q_TV.exp() * (log_q_TV - log_p_TV)).sum(-1)
    return (log_p_TV.exp() * (log_p_TV - log_q_TV)).sum(-1)


@DISTILLATION.register("ref")
def _distillation_ref(hidden_TD, weight_VD, teacher, target_T, loss, size):
    z_TV = projected_logits(hidden_TD, weight_VD, loss.cap)
    with torch.no_grad():
        seen = teacher.of(slice(None))
    divergence = _reference(z_TV, seen, loss)[target_T >= 0].sum()
    entropy = cross_entropy(z_TV, target_T, ignore_index=-1, reduction="sum")
    return divergence + loss.ce_weight * entropy, divergence.detach()


class _Chunked(ChunkedLoss):
    @staticmethod
    def forward(ctx, hidden_TD, weight_VD, teacher, target_T, loss, size):
        gradients = ProjectionGradients(hidden_TD, weight_VD, ctx.needs_input_grad[:2])
        dtype = torch.promote_types(hidden_TD.dtype, torch.float32)
        total, divergence = (torch.zeros((), dtype=dtype, device=hidden_TD.device) for _ in range(2))
        for part in chunks(hidden_TD.shape[0], size):
            z_CV, counted_C = projected_logits(hidden_TD[part], weight_VD, loss.cap), target_T[part] >= 0
            capped_CV = z_CV.clone() if loss.cap is not None else None
            entropy = chunk_cross_entropy(z_CV, target_T[part]) if loss.ce_weight else None
            losses_C, grad_CV = chunk_divergence(z_CV, teacher.of(part), loss)
            divergence += losses_C[counted_C].sum()
            if entropy is not None:
                total += loss.ce_weight * entropy[0][counted_C].sum()
                grad_CV.add_(entropy[1], alpha=loss.ce_weight)
            if gradients.wanted:
                grad_CV = grad_CV.masked_fill_(~counted_C[:, None], 0.0)
                gradients.add(part, uncapped_gradient(grad_CV, capped_CV, loss.cap))
        gradients.keep(ctx)
        total += divergence
        ctx.mark_non_differentiable(divergence)
        return total, divergence


@DISTILLATION.register("torch")
def _distillation_torch(hidden_TD, weight_VD, teacher, target_T, loss, size):
    if isinstance(teacher, DenseTeacher):
        teacher = replace(teacher, hidden_TE=teacher.hidden_TE.detach(), weight_VE=teacher.weight_VE.detach())
    return _Chunked.apply(hidden_TD, weight_VD, teacher, target_T, loss, size)


@DISTILLATION.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _distillation_cpu(hidden_TD, weight_VD, teacher, target_T, loss, size):
    if isinstance(teacher, DenseTeacher):
        seen, top_k = Projection(teacher.hidden_TE.detach(), teacher.weight_VE.detach(), teacher.cap), loss.top_k
    else:
        log_probs_TK, log_tail_T = (
            tensor.to(hidden_TD.dtype).contiguous() for tensor in (teacher.log_probs_TK, teacher.log_tail_T)
        )
        seen = Kept(teacher.ids_TK.to(torch.int64).contiguous(), log_probs_TK, log_tail_T)
        top_k = teacher.ids_TK.shape[1]
    top = loss.kind == "top_k_kl"
    return distillation_loss(
        Distillation(
            student=Projection(hidden_TD, weight_VD, loss.cap),
            teacher=seen,
            target_T=target_T.to(torch.int64).contiguous(),
            kind=loss.tail if top else loss.kind,
            top_k=top_k if top else 0,
            scale=1 / loss.temperature,
            ce_weight=loss.ce_weight,
            chunk_size=size,
        )
    )


@DISTILLATION.register("triton", **triton_support.REGISTRATION)
def _distillation_triton(*arguments):
    from kernels import distill_loss_triton

    return distill_loss_triton.distillation(*arguments)
