"""Teachers, documents and their scores for the tests of importance."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from model.hybrid import HybridLM
from ops.importance.depth import CalibrationBatch
from ops.importance.statistics import Statistics
from ops.importance.width import collect
from tests.ops.training_inputs import tiny_model

CONFIG = replace(tiny_model(320, pattern="M*-M-"), num_attention_heads=4, num_key_value_heads=2, head_dim=8)
EXPERTS: dict[str, Any] = {
    "pattern": "ME*E",
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 12,
    "moe_shared_expert_intermediate_size": 16,
    "routed_scaling_factor": 2.5,
    "num_nextn_predict_layers": 2,
    "mtp_hybrid_override_pattern": "*E",
}


def random_teacher(seed: int = 3, **changes: Any) -> HybridLM:
    model = HybridLM.create(replace(CONFIG, **changes), seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.1)
    return model.eval()


def make_documents(lengths: Iterable[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(320, (length,), generator=generator) for length in lengths]


def pack(rows: list[list[Tensor]], *, pad_to: int | None = None) -> CalibrationBatch:
    """Rows of whole documents; padding gets a document number of its own and is not valid."""
    width = pad_to or max(sum(map(len, row)) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    labels = torch.full((len(rows), width), -100)
    seq_idx = torch.zeros(len(rows), width, dtype=torch.int32)
    valid = torch.zeros(len(rows), width, dtype=torch.bool)
    for index, row in enumerate(rows):
        at = 0
        for number, document in enumerate(row):
            end = at + len(document)
            ids[index, at:end] = document
            labels[index, at : end - 1] = document[1:]
            seq_idx[index, at:end] = number
            valid[index, at:end] = True
            at = end
        seq_idx[index, at:] = len(row)
    return CalibrationBatch(ids, labels, seq_idx, valid)


def scores_of(model: HybridLM, batches: list[CalibrationBatch]) -> dict[str, Tensor]:
    statistics = Statistics()
    for _ in collect(model, statistics, batches):
        pass
    return statistics.finish()
