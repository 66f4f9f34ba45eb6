"""What is minimised, as modules over a model, so that DistributedDataParallel can wrap them.

Shape suffixes: B batch, L length, D model width, V vocabulary, T = B * L tokens.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kernels.linear_loss import CHUNK_LOGITS, linear_cross_entropy, linear_kl
from model.hybrid import HybridLM
from ops.data.token_data import IGNORED


class Objective(nn.Module):
    """A loss summed over the labelled tokens of a batch."""

    def __init__(self, model: HybridLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids_BL: Tensor, labels_BL: Tensor, seq_idx_BL: Tensor) -> tuple[Tensor, Tensor]:
        """(what to differentiate, what to report), each a sum over the labelled tokens in nats."""
        raise NotImplementedError


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

    def forward(self, input_ids_BL: Tensor, labels_BL: Tensor, seq_idx_BL: Tensor) -> tuple[Tensor, Tensor]:
        hidden_BLD = self.model.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL)
        further = []
        if self.mtp_depths:
            further = self.model.mtp_hidden_states(
                hidden_BLD, input_ids_BL, depths=self.mtp_depths, seq_idx_BL=seq_idx_BL
            )
        hidden_TD = hidden_BLD.flatten(0, 1)
        weight_VD, labels_T = self.model.lm_head.weight, labels_BL.flatten()
        with loss_precision():
            loss, _ = linear_cross_entropy(hidden_TD, weight_VD, labels_T, ignore_index=IGNORED)
            total = loss
            if self.z_loss:
                total = total + self.z_loss * squared_logsumexp(hidden_TD, weight_VD, labels_T != IGNORED)
            for depth, further_BLD in enumerate(further, start=1):
                later_T = later_labels(labels_BL, seq_idx_BL, depth).flatten()
                term, _ = linear_cross_entropy(further_BLD.flatten(0, 1), weight_VD, later_T, ignore_index=IGNORED)
                total = total + self.mtp_loss_scale / self.mtp_depths * term
        return total, loss.detach()


class Distillation(Objective):
    """Forward KL from the teacher's distribution to the student's, over the whole vocabulary and nothing else.

    Minitron (arXiv 2407.14679, section 4): forward KL on all logits at temperature 1 is best, a cross-entropy term
    on top of it hurts.
    """

    def __init__(self, student: HybridLM, teacher: HybridLM, *, temperature: float) -> None:
        super().__init__(student)
        self.teacher = (teacher,)  # in a tuple, so that it is no submodule: it has nothing to learn
        self.temperature = temperature

    def forward(self, input_ids_BL: Tensor, labels_BL: Tensor, seq_idx_BL: Tensor) -> tuple[Tensor, Tensor]:
        (teacher,) = self.teacher
        with torch.no_grad():
            teacher_hidden_BLD = teacher.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL)
        hidden_BLD = self.model.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL)
        with loss_precision():
            loss, _ = linear_kl(
                hidden_BLD.flatten(0, 1),
                self.model.lm_head.weight,
                teacher_hidden_BLD.flatten(0, 1),
                teacher.lm_head.weight,
                temperature=self.temperature,
                mask_T=(labels_BL != IGNORED).flatten(),
            )
        return loss, loss.detach()


def loss_precision() -> torch.autocast:
    """Losses on a CPU stay in float32 in every precision: their kernels there have no other."""
    return torch.autocast("cpu", enabled=False)


def later_labels(labels_BL: Tensor, seq_idx_BL: Tensor, depth: int) -> Tensor:
    """Labels of the prediction of `depth` tokens after the next: those of the position `depth` later, where that is of
    the same document."""
    later_BL = torch.full_like(labels_BL, IGNORED)
    if depth < labels_BL.shape[1]:
        same_BL = seq_idx_BL[:, depth:] == seq_idx_BL[:, :-depth]
        later_BL[:, :-depth] = labels_BL[:, depth:].masked_fill(~same_BL, IGNORED)
    return later_BL


def squared_logsumexp(hidden_TD: Tensor, weight_VD: Tensor, mask_T: Tensor) -> Tensor:
    """Sum of logsumexp(hidden @ weight^T)^2 over the tokens of the mask; logits of a chunk of tokens at a time, made
    again in the backward pass."""

    def of_chunk(hidden_CD: Tensor, weight_VD: Tensor, mask_C: Tensor) -> Tensor:
        return ((hidden_CD @ weight_VD.T).logsumexp(-1).square() * mask_C).sum()

    size = max(1, CHUNK_LOGITS // weight_VD.shape[0])
    total = hidden_TD.new_zeros(())
    for start in range(0, hidden_TD.shape[0], size):
        part = slice(start, start + size)
        total = total + checkpoint(of_chunk, hidden_TD[part], weight_VD, mask_T[part], use_reentrant=False)
    return total
