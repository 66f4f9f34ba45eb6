"""What a distillation loss is made of: its kind, and the teacher as its logits or its most likely tokens.

Shape suffixes: T tokens, C tokens of a chunk, E teacher width, V vocabulary, K tokens kept of it.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from kernels.loss_chunks import projected_logits

Kind = Literal["forward_kl", "reverse_kl", "mse", "cosine", "top_k_kl"]
Tail = Literal["renormalise", "bucket"]
KINDS: tuple[Kind, ...] = ("forward_kl", "reverse_kl", "mse", "cosine", "top_k_kl")
TAILS: tuple[Tail, ...] = ("renormalise", "bucket")

NO_MASS = -1e4
"""Log of a probability that is 0 in every type, and yet a number to multiply it by."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Which loss, see the table in kernels.distill_loss."""

    kind: Kind = "forward_kl"
    temperature: float = 1.0
    top_k: int = 0
    tail: Tail = "renormalise"
    ce_weight: float = 0.0
    cap: float | None = None
    """The student's logits are cap * tanh(z / cap)."""


@dataclass(frozen=True, kw_only=True)
class DenseTeacher:
    """A teacher as its last hidden states and output projection."""

    hidden_TE: Tensor
    weight_VE: Tensor
    cap: float | None = None
    """Its logits are cap * tanh(u / cap)."""

    def of(self, part: slice) -> Tensor:
        """Logits of a chunk."""
        return projected_logits(self.hidden_TE[part], self.weight_VE, self.cap)


@dataclass(frozen=True, kw_only=True)
class TopK:
    """A teacher's most likely tokens: their ids, their log-probabilities, and the log of what all others have."""

    ids_TK: Tensor
    log_probs_TK: Tensor
    log_tail_T: Tensor

    def of(self, part: slice) -> "TopK":
        """The same of a chunk."""
        return TopK(ids_TK=self.ids_TK[part], log_probs_TK=self.log_probs_TK[part], log_tail_T=self.log_tail_T[part])

    def first(self, k: int) -> "TopK":
        """The k most likely of these; the others' mass joins that of the tail."""
        if k == self.ids_TK.shape[1]:
            return self
        more_T = self.log_probs_TK[:, k:].logsumexp(-1)
        return TopK(
            ids_TK=self.ids_TK[:, :k],
            log_probs_TK=self.log_probs_TK[:, :k],
            log_tail_T=torch.logaddexp(self.log_tail_T, more_T),
        )


Teacher = DenseTeacher | TopK


@torch.no_grad()
def most_likely(logits_CV: Tensor, k: int, *, temperature: float = 1.0) -> TopK:
    """The k most likely tokens of each row, the most likely first."""
    log_probs_CV = log_softmax(logits_CV / temperature, dim=-1)
    log_probs_CK, ids_CK = log_probs_CV.topk(k, dim=-1)
    log_tail_C = log_probs_CV.scatter_(1, ids_CK, -torch.inf).logsumexp(-1)
    return TopK(ids_TK=ids_CK, log_probs_TK=log_probs_CK, log_tail_T=log_tail_C)
