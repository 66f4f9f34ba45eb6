"""Depth scores: what the logits and the loss say when a layer is left out.

The iterative rule of Nemotron Nano 2 (arXiv 2508.14444, section 4.2): s_j = sum (M_full - M_without_j)^2 / sum M_full^2
over logits; the layer with the least is removed, and the others are scored again without it. M_full stays the whole
teacher. Since all share one output projection W, ||W a||^2 = a^T (W^T W) a needs hidden states alone.

Shape suffixes: B rows, L positions, T real tokens, D model width, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.linear_loss import linear_cross_entropy
from model.hybrid import HybridLM
from model.slicing import layer_view


@dataclass(frozen=True)
class CalibrationBatch:
    """Packed rows on the model's device."""

    input_ids_BL: Tensor
    labels_BL: Tensor
    """The next token; -100: none."""

    seq_idx_BL: Tensor
    valid_BL: Tensor
    """False: padding."""


def output_gram(model: HybridLM) -> Tensor:
    """W^T W of the output projection, gram_DD in float64."""
    weight_VD = model.lm_head.weight.detach()
    gram_DD = torch.zeros(weight_VD.shape[1], weight_VD.shape[1], dtype=torch.float64, device=weight_VD.device)
    for part in weight_VD.split(8192):
        gram_DD += part.double().T @ part.double()
    return gram_DD


@torch.no_grad()
def removal_errors(
    model: HybridLM, kept: Sequence[int], candidates: Sequence[int], batches: Iterable[CalibrationBatch]
) -> list[float]:
    """s_j of each candidate: the normalised error of the logits (before a cap on them) of the `kept` layers without it,
    against the whole model."""
    gram_DD = output_gram(model)
    views = [layer_view(model, [index for index in kept if index != candidate]) for candidate in candidates]
    errors = [0.0] * len(candidates)
    total = 0.0
    for batch in batches:
        full_TD = _hidden(model, batch)
        total += _quadratic(full_TD, gram_DD)
        for position, view in enumerate(views):
            errors[position] += _quadratic(full_TD - _hidden(view, batch), gram_DD)
    return [error / total for error in errors]


@torch.no_grad()
def removal_losses(
    model: HybridLM, candidates: Sequence[int], batches: Iterable[CalibrationBatch]
) -> tuple[float, list[float]]:
    """Cross-entropy in nats per token of the whole model, and of the model without each candidate."""
    everything = range(model.config.num_layers)
    views = [model, *(layer_view(model, [i for i in everything if i != candidate]) for candidate in candidates)]
    sums, counts = [0.0] * len(views), 0
    for batch in batches:
        targets_T = batch.labels_BL.flatten()
        counts += int((targets_T >= 0).sum())
        for position, view in enumerate(views):
            hidden_TD = view.hidden_states(batch.input_ids_BL, seq_idx_BL=batch.seq_idx_BL).flatten(0, 1)
            cap = model.config.final_logit_softcapping
            loss, _ = linear_cross_entropy(hidden_TD, model.lm_head.weight, targets_T, cap=cap)
            sums[position] += float(loss)
    losses = [value / max(counts, 1) for value in sums]
    return losses[0], losses[1:]


def _hidden(model: HybridLM, batch: CalibrationBatch) -> Tensor:
    hidden_BLD = model.hidden_states(batch.input_ids_BL, seq_idx_BL=batch.seq_idx_BL)
    return hidden_BLD[batch.valid_BL].double()


def _quadratic(hidden_TD: Tensor, gram_DD: Tensor) -> float:
    """sum over tokens of h^T G h; NumPy sums in one order whatever the number of threads."""
    return float(((hidden_TD @ gram_DD) * hidden_TD).sum(-1).cpu().numpy().sum())
