"""Score a teacher: width by hooks in one pass, depth by leaving layers out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from model.hybrid import HybridLM
from ops.atomic import read_json, write_bytes, write_json
from ops.data import TokenData
from ops.errors import InputError
from ops.identity import fingerprint
from ops.importance.calibration import calibration, to_device
from ops.importance.config import ImportanceConfig
from ops.importance.depth import CalibrationBatch, removal_errors, removal_losses
from ops.importance.scores import SUMMARY, TENSORS, expected_shapes
from ops.importance.statistics import TOKENS
from ops.importance.width import SEGMENTS, width_statistics
from ops.progress import track
from ops.stage import Check, Execution, Inputs, StageResult, many, one
from ops.train.distributed import World, world
from ops.train.loop import deterministic
from ops.train.result import load_model

DEPTH_STATE = ".depth.json"
IDENTITY = ".pass.json"


def run(config: ImportanceConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `importance.safetensors` and `importance.json` (see ops.importance.scores) of input `teacher`.

    Under torchrun the batches of the width pass and the layers that are left out are divided among the processes; the
    scores have the same bits.

    Raises:
        InputError: for a teacher that cannot be scored, tokens of another vocabulary, or the work of another pass in
            `out`.
    """
    with deterministic(threads=execution.threads, device=execution.device), world(execution.device) as processes:
        return _run(config, inputs, out, processes)


def _run(config: ImportanceConfig, inputs: Inputs, out: Path, world: World) -> StageResult:
    model = load_model(one(inputs, "teacher"), world.device).eval()
    data = TokenData.open(one(inputs, "training_set"), many(inputs, "tokens"))
    if data.vocab_size > model.config.vocab_size:
        raise InputError(
            f"teacher: its vocabulary has {model.config.vocab_size} entries, the tokens need {data.vocab_size}"
        )
    if model.config.num_layers < 2:
        raise InputError("teacher: has one layer, so none can be left out")
    _claim(out, fingerprint({"config": config, "model": model.config}), world)
    statistics = width_statistics(config, model, data, out, world)
    scores, tokens = statistics.finish(), int(statistics.sums[TOKENS])
    steps = range(-(-config.depth_num_samples // config.batch_size))
    depth_batches = [to_device(batch, model) for batch in calibration(config, data, config.depth_num_samples, steps)]
    depth, passes = _depth(config, model, depth_batches, out, world)
    layers = range(model.config.num_layers)
    scores["d_model"] = torch.stack([scores[f"layers.{i}.d_model"] for i in layers]).sum(0)
    influence = [scores.pop(f"layers.{i}.block_influence") for i in layers]
    scores["depth.block_influence"] = torch.stack(influence)
    loss, losses = depth["loss"], torch.tensor(depth["losses"], dtype=torch.float64)
    scores["depth.lm_loss"] = losses - loss
    scores["depth.logit_mse"] = torch.tensor(depth["steps"][0]["errors"], dtype=torch.float64)
    scores["depth.removal_rank"], scores["depth.removal_error"] = _ranks(depth["steps"], model.config.num_layers)
    assert {name: tuple(value.shape) for name, value in scores.items()} == expected_shapes(model.config)

    depth_tokens = config.depth_num_samples * config.seq_len
    flops = model.config.flops_per_token(config.seq_len) * (tokens + passes * depth_tokens)
    summary = {
        "pattern": model.config.pattern,
        "tokens": tokens,
        "loss": loss,
        "layers": _table(model, scores),
    }
    if world.writes:
        write_bytes(out / TENSORS, save({name: scores[name].contiguous() for name in sorted(scores)}))
        write_json(out / SUMMARY, summary)
        for path in (out / IDENTITY, out / DEPTH_STATE, *out.glob(SEGMENTS)):
            path.unlink(missing_ok=True)
    finite = all(bool(value.isfinite().all()) for value in scores.values())
    return StageResult(
        counts={"samples": config.num_samples, "tokens": tokens, "layers": model.config.num_layers},
        checks=[Check(name="finite", passed=finite, description="every score is a finite number")],
        tokens=tokens + passes * depth_tokens,
        flops=float(flops),
        summary=summary,
    )


def _claim(out: Path, identity: str, world: World) -> None:
    """Raise InputError where `out` holds the work of a pass with another config or over another kind of network."""
    path = out / IDENTITY
    if path.exists() and read_json(path) != identity:
        raise InputError(f"{path}: is of a pass with another configuration; use another output directory")
    world.barrier()
    if world.writes:
        write_json(path, identity)


def _depth(
    config: ImportanceConfig, model: HybridLM, batches: Sequence[CalibrationBatch], out: Path, world: World
) -> tuple[dict[str, Any], int]:
    """Losses without each layer, and the steps of the iterative removal, saved after every step.

    Each process leaves out layers of its own. Also returns the number of passes over the batches, each counted as one
    of the whole model."""
    state = out / DEPTH_STATE
    layers = list(range(model.config.num_layers))
    depth = read_json(state) if state.exists() else {}
    world.barrier()

    def save() -> None:
        if world.writes:
            write_json(state, depth)

    if not depth:
        own = layers[world.rank :: world.size]
        loss, losses = removal_losses(model, own, batches)
        depth = {"loss": loss, "losses": _shared(losses, len(layers), world), "steps": []}
        save()
    most = len(layers) - 1
    wanted = most if config.depth_steps is None else min(config.depth_steps, most)
    kept = [index for index in layers if index not in {step["removed"] for step in depth["steps"]}]
    remaining = range(len(depth["steps"]), wanted)
    for _ in track(remaining, description="depth importance", total=len(remaining), unit="layer"):
        own = kept[world.rank :: world.size]
        errors = _shared(removal_errors(model, kept, own, batches), len(kept), world)
        removed = min(zip(errors, kept, strict=True))[1]
        depth["steps"].append({"layers": list(kept), "errors": errors, "removed": removed})
        kept.remove(removed)
        save()
    passes = 1 + len(layers) + sum(len(step["layers"]) for step in depth["steps"])
    return depth, passes


def _shared(own: Sequence[float], count: int, world: World) -> list[float]:
    """The numbers of all processes, of which this one made every `world.size`-th."""
    whole = torch.zeros(count, dtype=torch.float64)
    whole[world.rank :: world.size] = torch.tensor(own, dtype=torch.float64)
    return world.sum(whole.to(world.device)).tolist()


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
    names = {
        "M": "mamba_contribution",
        "-": "intermediate_size",
        "*": "num_attention_heads",
        "E": "expert_weighted_norm",
    }
    rows = []
    for index, letter in enumerate(model.config.pattern):
        row: dict[str, Any] = {"layer": index, "kind": letter}
        for name in ("block_influence", "lm_loss", "logit_mse", "removal_error"):
            row[name] = float(scores[f"depth.{name}"][index])
        row["removal_rank"] = int(scores["depth.removal_rank"][index])
        name = names[letter]
        value = scores[f"layers.{index}.{name}"]
        row[f"{name}_largest_over_mean"] = float(value.max() / value.mean().clamp(min=1e-300))
        rows.append(row)
    return rows
