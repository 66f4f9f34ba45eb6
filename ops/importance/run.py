"""Score a teacher: width by hooks in one pass, depth by leaving layers out."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from model.hybrid import HybridLM
from model.slicing import LAYER_AXES
from ops.atomic import read_json, write_bytes, write_json
from ops.data import Batch, TokenData
from ops.errors import InputError
from ops.importance.activations import TOKENS, Statistics, scoring
from ops.importance.config import ImportanceConfig
from ops.importance.depth import CalibrationBatch, removal_errors, removal_losses
from ops.importance.scores import SUMMARY, TENSORS, expected_shapes
from ops.progress import track
from ops.stage import Check, Execution, Inputs, StageResult, many, one
from ops.train.loop import deterministic
from ops.train.result import load_model

WIDTH_STATE = ".width.safetensors"
DEPTH_STATE = ".depth.json"
BATCHES_PER_MARK = 16


def run(config: ImportanceConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `importance.safetensors` and `importance.json` (see ops.importance.scores) of input `teacher`."""
    with deterministic(threads=execution.threads, device=execution.device):
        return _run(config, inputs, out, execution)


def _run(config: ImportanceConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    model = load_model(one(inputs, "teacher"), torch.device(execution.device)).eval()
    data = TokenData.open(one(inputs, "training_set"), many(inputs, "tokens"))
    if data.vocab_size > model.config.vocab_size:
        raise InputError(
            f"teacher: its vocabulary has {model.config.vocab_size} entries, the tokens need {data.vocab_size}"
        )
    if model.config.num_layers < 2:
        raise InputError("teacher: has one layer, so none can be left out")
    if model.config.has_experts or model.config.num_nextn_predict_layers:
        raise InputError("teacher: has experts or multi-token prediction, which cannot be scored")
    scores, tokens = _width(config, model, data, out)
    depth_batches = [to_device(batch, model) for batch in calibration(config, data, config.depth_num_samples)]
    depth, passes = _depth(config, model, depth_batches, out)
    layers = range(model.config.num_layers)
    scores["d_model"] = torch.stack([scores[f"layers.{i}.d_model"] for i in layers]).sum(0)
    influence = [scores.pop(f"layers.{i}.block_influence") for i in layers]
    scores["depth.block_influence"] = torch.stack(influence)
    loss, losses = depth["loss"], torch.tensor(depth["losses"], dtype=torch.float64)
    scores["depth.lm_loss"] = losses - loss
    scores["depth.logit_mse"] = torch.tensor(depth["steps"][0]["errors"], dtype=torch.float64)
    scores["depth.removal_rank"], scores["depth.removal_error"] = _ranks(depth["steps"], model.config.num_layers)
    assert {name: tuple(value.shape) for name, value in scores.items()} == expected_shapes(model.config)

    table = _table(model, scores)
    depth_tokens = config.depth_num_samples * config.seq_len
    flops = model.config.flops_per_token(config.seq_len) * (tokens + passes * depth_tokens)
    write_bytes(out / TENSORS, save({name: scores[name].contiguous() for name in sorted(scores)}))
    summary = {"pattern": model.config.pattern, "tokens": tokens, "loss": loss, "layers": table}
    write_json(out / SUMMARY, summary)
    for name in (WIDTH_STATE, DEPTH_STATE):
        (out / name).unlink(missing_ok=True)
    finite = all(bool(value.isfinite().all()) for value in scores.values())
    return StageResult(
        counts={"samples": config.num_samples, "tokens": tokens, "layers": model.config.num_layers},
        checks=[Check(name="finite", passed=finite, description="every score is a finite number")],
        tokens=tokens + passes * depth_tokens,
        flops=float(flops),
        summary=summary,
    )


def calibration(config: ImportanceConfig, data: TokenData, num_samples: int, first_step: int = 0) -> Iterator[Batch]:
    """The first `num_samples` rows of the calibration set in batches, from batch `first_step` on."""
    for step in range(first_step, math.ceil(num_samples / config.batch_size)):
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


@torch.no_grad()
def collect(model: HybridLM, statistics: Statistics, batches: Iterable[CalibrationBatch]) -> Iterator[None]:
    """One forward pass of `model` per batch, added to `statistics`; yields after each."""
    with scoring(model, statistics) as announce:
        for batch in batches:
            announce(batch.seq_idx_BL, batch.valid_BL)
            model.hidden_states(batch.input_ids_BL, seq_idx_BL=batch.seq_idx_BL)
            yield


def _width(config: ImportanceConfig, model: HybridLM, data: TokenData, out: Path) -> tuple[dict[str, Tensor], int]:
    """Width scores and block influence; sums and the number of batches behind them are saved now and then."""
    state = out / WIDTH_STATE
    done = 0
    statistics = Statistics()
    if state.exists():
        with safe_open(state, framework="pt") as file:
            statistics = Statistics({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            done = int(file.metadata()["batches"])
    total = math.ceil(config.num_samples / config.batch_size)
    batches = (to_device(batch, model) for batch in calibration(config, data, config.num_samples, done))
    progress = track(collect(model, statistics, batches), description="importance", total=total - done, unit="batch")
    for done, _ in enumerate(progress, start=done + 1):  # noqa: B020
        if done % BATCHES_PER_MARK == 0:
            sums = {name: value.contiguous() for name, value in sorted(statistics.sums.items())}
            write_bytes(state, save(sums, metadata={"batches": str(done)}))
    return statistics.finish(), int(statistics.sums[TOKENS])


def _depth(
    config: ImportanceConfig, model: HybridLM, batches: Sequence[CalibrationBatch], out: Path
) -> tuple[dict[str, Any], int]:
    """Losses without each layer, and the steps of the iterative removal, saved after every step.

    Also returns the number of passes over the batches, each counted as one of the whole model."""
    state = out / DEPTH_STATE
    layers = list(range(model.config.num_layers))
    if state.exists():
        depth = read_json(state)
    else:
        loss, losses = removal_losses(model, layers, batches)
        depth = {"loss": loss, "losses": losses, "steps": []}
        write_json(state, depth)
    most = len(layers) - 1
    wanted = most if config.depth_steps is None else min(config.depth_steps, most)
    kept = [index for index in layers if index not in {step["removed"] for step in depth["steps"]}]
    remaining = range(len(depth["steps"]), wanted)
    for _ in track(remaining, description="depth importance", total=len(remaining), unit="layer"):
        errors = removal_errors(model, kept, kept, batches)
        removed = min(zip(errors, kept, strict=True))[1]
        depth["steps"].append({"layers": list(kept), "errors": errors, "removed": removed})
        kept.remove(removed)
        write_json(state, depth)
    passes = 1 + len(layers) + sum(len(step["layers"]) for step in depth["steps"])
    return depth, passes


def _ranks(steps: Sequence[dict[str, Any]], num_layers: int) -> tuple[Tensor, Tensor]:
    """Per layer: its place in the order of removal, and its error when it was removed (or last scored)."""
    rank, error = torch.zeros(num_layers, dtype=torch.float64), torch.zeros(num_layers, dtype=torch.float64)
    for place, step in enumerate(steps):
        rank[step["removed"]] = place
        for index, value in zip(step["layers"], step["errors"], strict=True):
            error[index] = value
    last = steps[-1]
    left = sorted((value, index) for value, index in zip(last["errors"], last["layers"], strict=True))
    for place, (_, index) in enumerate(item for item in left if item[1] != last["removed"]):
        rank[index] = len(steps) + place
    return rank, error


def _table(model: HybridLM, scores: dict[str, Tensor]) -> list[dict[str, Any]]:
    """A row per layer for people: the depth scores, and how unequal its channels and heads are (largest / mean)."""
    names = {"M": ("mamba_contribution",), "-": LAYER_AXES["-"], "*": LAYER_AXES["*"]}
    rows = []
    for index, letter in enumerate(model.config.pattern):
        row: dict[str, Any] = {"layer": index, "kind": letter}
        for name in ("block_influence", "lm_loss", "logit_mse", "removal_error"):
            row[name] = float(scores[f"depth.{name}"][index])
        row["removal_rank"] = int(scores["depth.removal_rank"][index])
        for name in names[letter]:
            value = scores[f"layers.{index}.{name}"]
            row[f"{name}_largest_over_mean"] = float(value.max() / value.mean().clamp(min=1e-300))
        rows.append(row)
    return rows
