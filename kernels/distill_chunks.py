"""Values and gradients of the distillation losses of a chunk of tokens, in torch.

Each returns (losses_C, the gradient of the student's logits z_CV); these and the teacher's u_CV may be overwritten.
Shape suffixes: C tokens of a chunk, V vocabulary, K tokens kept of it.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from kernels.distill_terms import NO_MASS, Loss, TopK, most_likely

Chunk = tuple[Tensor, Tensor]


def _forward_kl(z_CV: Tensor, u_CV: Tensor, temperature: float) -> Chunk:
    log_q_CV, log_p_CV = (log_softmax(value.div_(temperature), dim=-1) for value in (z_CV, u_CV))
    p_CV = log_p_CV.exp()
    losses_C = log_p_CV.sub_(log_q_CV).mul_(p_CV).sum(-1)
    return losses_C, log_q_CV.exp_().sub_(p_CV).div_(temperature)


def _reverse_kl(z_CV: Tensor, u_CV: Tensor, temperature: float) -> Chunk:
    log_q_CV, log_p_CV = (log_softmax(value.div_(temperature), dim=-1) for value in (z_CV, u_CV))
    difference_CV = log_p_CV.neg_().add_(log_q_CV)
    q_CV = log_q_CV.exp_()
    losses_C = (difference_CV * q_CV).sum(-1)
    return losses_C, difference_CV.sub_(losses_C[:, None]).mul_(q_CV).div_(temperature)


def _mse(z_CV: Tensor, u_CV: Tensor) -> Chunk:
    difference_CV = z_CV.sub_(u_CV)
    vocabulary = difference_CV.shape[1]
    return difference_CV.square().sum(-1) / vocabulary, difference_CV.mul_(2 / vocabulary)


def _cosine(z_CV: Tensor, u_CV: Tensor) -> Chunk:
    norm_C1 = z_CV.norm(dim=-1, keepdim=True)
    z_CV, u_CV = z_CV.div_(norm_C1), u_CV.div_(u_CV.norm(dim=-1, keepdim=True))
    cosine_C1 = (z_CV * u_CV).sum(-1, keepdim=True)
    return 1 - cosine_C1.squeeze(1), z_CV.mul_(cosine_C1).sub_(u_CV).div_(norm_C1)


def _top_k_kl(z_CV: Tensor, top: TopK, loss: Loss) -> Chunk:
    z_CV = z_CV.div_(loss.temperature)
    log_p_CK = top.log_probs_TK.to(z_CV.dtype)
    if loss.tail == "renormalise":
        log_p_CK = log_p_CK.log_softmax(-1)
        log_q_CK = z_CV.gather(1, top.ids_TK).log_softmax(-1)
        p_CK = log_p_CK.exp()
        losses_C = (p_CK * (log_p_CK - log_q_CK)).sum(-1)
        grad_CV = z_CV.zero_().scatter_(1, top.ids_TK, log_q_CK.exp().sub_(p_CK))
        return losses_C, grad_CV.div_(loss.temperature)
    log_q_CV = log_softmax(z_CV, dim=-1)
    log_q_CK = log_q_CV.gather(1, top.ids_TK)
    p_CK = log_p_CK.exp()
    losses_C = (p_CK * (log_p_CK - log_q_CK)).sum(-1)
    log_tail_C = top.log_tail_T.to(z_CV.dtype).clamp(min=NO_MASS)
    if log_p_CK.shape[1] < z_CV.shape[1]:
        log_rest_C = log_q_CV.scatter_(1, top.ids_TK, -torch.inf).logsumexp(-1)
        excess_C = log_tail_C - log_rest_C
        losses_C = losses_C + log_tail_C.exp() * excess_C
        p_CV = (log_q_CV + excess_C[:, None]).exp_()
        grad_CV = log_q_CV.exp_().sub_(p_CV)
    else:
        grad_CV = log_q_CV
    grad_CV.scatter_(1, top.ids_TK, log_q_CK.exp().sub_(p_CK))
    return losses_C, grad_CV.div_(loss.temperature)


def divergence(z_CV: Tensor, teacher: Tensor | TopK, loss: Loss) -> Chunk:
    if loss.kind == "top_k_kl":
        if isinstance(teacher, Tensor):
            teacher = most_likely(teacher, loss.top_k, temperature=loss.temperature)
        return _top_k_kl(z_CV, teacher, loss)
    assert isinstance(teacher, Tensor)
    if loss.kind == "mse":
        return _mse(z_CV, teacher)
    if loss.kind == "cosine":
        return _cosine(z_CV, teacher)
    function = _reverse_kl if loss.kind == "reverse_kl" else _forward_kl
    return function(z_CV, teacher, loss.temperature)


def cross_entropy(z_CV: Tensor, target_C: Tensor) -> Chunk:
    target_C1 = target_C.clamp(min=0)[:, None]
    log_q_CV = log_softmax(z_CV, dim=-1)
    losses_C = -log_q_CV.gather(1, target_C1).squeeze(1)
    grad_CV = log_q_CV.exp_()
    return losses_C, grad_CV.scatter_add_(1, target_C1, grad_CV.new_full(target_C1.shape, -1.0))
