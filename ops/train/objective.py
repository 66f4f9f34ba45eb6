"""What is minimised, as modules over a model, so that DistributedDataParallel can wrap them.

Shape suffixes: B batch, L length, D model width, V vocabulary, T = B * L tokens.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kernels.linear_loss import linear_cross_entropy
from kernels.loss_chunks import CHUNK_LOGITS
from kernels.softcap import softcap
from model.hybrid import HybridLM
from ops.data.batch import IGNORED

T = TypeVar("T")


class Objective(nn.Module):
    """A loss summed over the labelled tokens of a batch."""

    def __init__(self, model: HybridLM) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids_BL: Tensor, labels_BL: Tensor, seq_idx_BL: Tensor, **more: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(what to differentiate, what to report), each a sum over the labelled tokens; `more` is that of the batch."""
        raise NotImplementedError

    def networks(self) -> tuple[HybridLM, ...]:
        """Those that `forward` goes through."""
        return (self.model,)

    def measured(self, measure: Callable[[HybridLM], T]) -> T:
        """What `measure` finds of the network, whose weights are whole while it looks."""
        return measure(self.model)


class CrossEntropy(Objective):
    """Next-token cross-entropy, which is what is reported, with two terms on top where they are wanted:
    `z_loss * logsumexp(logits)^2`, and in networks that have multi-token prediction `mtp_loss_scale` times the mean
    cross-entropy of the `mtp_depths` predictions after the next (sums over tokens, all divided by the same count)."""

    def __init__(
        self, model: HybridLM, *, z_loss: float = 0.0, mtp_depths: int = 1, mtp_loss_scale: float = 0.3
    ) -> None:
        super().__init__(model)
        self.z_loss = z_loss
        self.mtp_depths = mtp_depths if model.mtp is not None else 0
        self.mtp_loss_scale = mtp_loss_scale

    def forward(
        self, input_ids_BL: Tensor, labels_BL: Tensor, seq_idx_BL: Tensor, **more: Tensor
    ) -> tuple[Tensor, Tensor]:
        hidden_BLD = self.model.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL)
        further = later_losses(self.model, hidden_BLD, input_ids_BL, labels_BL, seq_idx_BL, depths=self.mtp_depths)
        hidden_TD = hidden_BLD.flatten(0, 1)
        weight_VD, labels_T = self.model.lm_head.weight, labels_BL.flatten()
        cap = self.model.config.final_logit_softcapping
        with loss_precision():
            loss, _ = linear_cross_entropy(hidden_TD, weight_VD, labels_T, ignore_index=IGNORED, cap=cap)
            total = loss
            if self.z_loss:
                total = total + self.z_loss * squared_logsumexp(hidden_TD, weight_VD, labels_T != IGNORED, cap)
            for term in further:
                total = total + self.mtp_loss_scale / self.mtp_depths * term
        return total, loss.detach()


def loss_precision() -> torch.autocast:
    """Losses on a CPU stay in float32 in every precision: their kernels there have no other."""
    return torch.autocast("cpu", enabled=False)


def later_losses(
    model: HybridLM, hidden_BLD: Tensor, input_ids_BL: Tensor, labels_BL: Tensor, seq_idx_BL: Tensor, *, depths: int
) -> list[Tensor]:
    """Cross-entropy of each of the `depths` multi-token predictions behind the next one, summed over tokens in nats."""
    if not depths:
        return []
    further = model.mtp_hidden_states(hidden_BLD, input_ids_BL, depths=depths, seq_idx_BL=seq_idx_BL)
    losses = []
    for depth, further_BLD in enumerate(further, start=1):
        later_T = later_labels(labels_BL, seq_idx_BL, depth).flatten()
        with loss_precision():
            flat_TD = further_BLD.flatten(0, 1)
            weight_VD, cap = model.lm_head.weight, model.config.final_logit_softcapping
            losses.append(linear_cross_entropy(flat_TD, weight_VD, later_T, ignore_index=IGNORED, cap=cap)[0])
    return losses


def later_labels(labels_BL: Tensor, seq_idx_BL: Tensor, depth: int) -> Tensor:
    """Labels of the prediction of `depth` tokens after the next: those of the position `depth` later, where that is of
    the same document."""
    later_BL = torch.full_like(labels_BL, IGNORED)
    if depth < labels_BL.shape[1]:
        same_BL = seq_idx_BL[:, depth:] == seq_idx_BL[:, :-depth]
        later_BL[:, :-depth] = labels_BL[:, depth:].masked_fill(~same_BL, IGNORED)
    return later_BL


def squared_logsumexp(hidden_TD: Tensor, weight_VD: Tensor, mask_T: Tensor, cap: float | None = None) -> Tensor:
    """Sum of logsumexp(hidden @ weight^T)^2 over the tokens of the mask, of capped logits where there is a cap; logits
    of a chunk of tokens at a time, made again in the backward pass."""

    def of_chunk(hidden_CD: Tensor, weight_VD: Tensor, mask_C: Tensor) -> Tensor:
        return (softcap(hidden_CD @ weight_VD.T, cap).logsumexp(-1).square() * mask_C).sum()

    size = max(1, CHUNK_LOGITS // weight_VD.shape[0])
    total = hidden_TD.new_zeros(())
    for start in range(0, hidden_TD.shape[0], size):
        part = slice(start, start + size)
        total = total + checkpoint(of_chunk, hidden_TD[part], weight_VD, mask_T[part], use_reentrant=False)
    return total
