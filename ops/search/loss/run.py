"""Score a candidate: cut it out of the teacher in memory, or take its checkpoint, and read training text."""

from functools import lru_cache
from pathlib import Path

import torch

from kernels.linear_loss import linear_token_losses
from model.hybrid import HybridLM
from model.slicing import gather_model
from ops.atomic import write_json
from ops.data import TokenData
from ops.data.batch import IGNORED
from ops.importance.scores import Importance
from ops.prune.config import PruneConfig
from ops.prune.run import cut, teacher_of
from ops.search.loss.config import CandidateLossConfig
from ops.stage import Check, Execution, Inputs, StageResult, many, one
from ops.train.loop import deterministic
from ops.train.objective import loss_precision
from ops.train.result import load_model

SCORE = "score.json"
BATCH_TOKENS = 4096
"""A fixed number, because the rounding of a loss depends on it."""


def run(config: CandidateLossConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `score.json`: mean loss in nats a token, and the number of tokens.

    Inputs: `training_set`, `tokens`, and `candidate` or what `ops.prune` cuts it out of.
    """
    with deterministic(threads=execution.threads, device=execution.device):
        if config.prune is None:
            candidate = load_model(one(inputs, "candidate"), torch.device(execution.device)).eval()
        else:
            candidate = _cut_out(config.prune, inputs, execution.device)
        data = TokenData.open(one(inputs, "training_set"), many(inputs, "tokens"))
        loss, tokens = mean_loss(candidate, data, config)
    write_json(out / SCORE, {"loss": loss, "tokens": tokens})
    finite = Check(name="finite", passed=loss == loss and abs(loss) < float("inf"), description="the loss is a number")
    return StageResult(
        counts={"tokens": tokens, "parameters": candidate.config.num_params()},
        checks=[finite],
        tokens=tokens,
        flops=float(tokens * candidate.config.flops_per_token(config.seq_len)),
    )


def _cut_out(config: PruneConfig, inputs: Inputs, device: str) -> HybridLM:
    source, in_order = teacher_of(inputs)
    teacher = _teacher(source, device)
    importance = Importance.read(one(inputs, "importance"), teacher.config)
    _, maps = cut(source, teacher.config, config, importance, in_order=in_order)
    return gather_model(teacher, maps).eval()


@lru_cache(maxsize=1)
def _teacher(path: Path, device: str) -> HybridLM:
    """The candidates of a search are scored one after the other: the teacher is read once."""
    return load_model(path, torch.device(device)).eval()


@torch.no_grad()
def mean_loss(model: HybridLM, data: TokenData, config: CandidateLossConfig) -> tuple[float, int]:
    """Mean cross-entropy in nats over the labelled tokens, and their number."""
    device = model.lm_head.weight.device
    rows = max(1, BATCH_TOKENS // config.seq_len)
    total, tokens = 0.0, 0
    for start in range(0, config.num_sequences, rows):
        numbers = range(start, min(start + rows, config.num_sequences))
        batch = data.samples(numbers, phase=config.phase, seq_len=config.seq_len, seed=config.seed)
        ids_BL, seq_idx_BL = (torch.from_numpy(array).to(device) for array in (batch.input_ids, batch.seq_idx))
        labels_T = torch.from_numpy(batch.labels.ravel()).to(device)
        counted_T = labels_T != IGNORED
        hidden_TD = model.hidden_states(ids_BL, seq_idx_BL=seq_idx_BL).flatten(0, 1)[counted_T]
        with loss_precision():
            cap = model.config.final_logit_softcapping
            losses_T = linear_token_losses(hidden_TD, model.lm_head.weight, labels_T[counted_T], cap=cap)
        total += float(losses_T.double().sum())
        tokens += len(losses_T)
    return total / tokens, tokens
