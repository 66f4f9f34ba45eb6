"""The rows that a teacher is scored on."""

from collections.abc import Iterable, Iterator

import torch

from model.hybrid import HybridLM
from ops.data import Batch, TokenData
from ops.importance.config import ImportanceConfig
from ops.importance.depth import CalibrationBatch


def calibration(config: ImportanceConfig, data: TokenData, num_samples: int, steps: Iterable[int]) -> Iterator[Batch]:
    """The batches of these numbers, of the first `num_samples` rows of the calibration set."""
    for step in steps:
        batch = data.batch(
            phase=config.phase, step=step, batch_size=config.batch_size, seq_len=config.seq_len, seed=config.seed
        )
        rows = min(config.batch_size, num_samples - step * config.batch_size)
        yield Batch(batch.input_ids[:rows], batch.labels[:rows], batch.seq_idx[:rows], batch.doc_ids[:rows])


def to_device(batch: Batch, model: HybridLM) -> CalibrationBatch:
    """The batch as tensors; positions behind the last document of a row are padding."""
    device = model.lm_head.weight.device
    seq_idx_BL = torch.from_numpy(batch.seq_idx)
    documents_B1 = torch.tensor([[len(row)] for row in batch.doc_ids])
    return CalibrationBatch(
        input_ids_BL=torch.from_numpy(batch.input_ids).to(device),
        labels_BL=torch.from_numpy(batch.labels).to(device),
        seq_idx_BL=seq_idx_BL.to(device),
        valid_BL=(seq_idx_BL < documents_B1).to(device),
    )
