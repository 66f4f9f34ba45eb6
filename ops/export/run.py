"""Export as a stage."""

from pathlib import Path
from typing import Any

import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.hybrid import HybridLM
from ops.atomic import read_json, sweep, write_bytes
from ops.errors import InputError
from ops.export.card import model_card
from ops.export.config import ExportConfig
from ops.stage import Check, Execution, Inputs, StageResult, one
from ops.store.record import RECORD_NAME, Record
from ops.train.result import clear_model_errors, finite_weights, parameter_count
from ops.train.vocabulary import check_same_size, read_vocabulary, tokenizer_files

CARD = "README.md"


def run(config: ExportConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write weights, configuration, tokenizer and `README.md` of input `checkpoint`.

    Input `evaluation` (what `ops.evaluate` made of the same checkpoint) may be absent, then the card has no scores; a
    checkpoint that comes from no store has no lineage in it.

    Raises:
        InputError: when the checkpoint is not complete, has no tokenizer or one that does not fit, or was not the one
            that was evaluated.
    """
    checkpoint = one(inputs, "checkpoint")
    files = tokenizer_files(checkpoint)
    vocabulary = read_vocabulary(checkpoint)
    with clear_model_errors():
        model = load_checkpoint(checkpoint, dtype=getattr(torch, config.dtype))
    if own := model.config.own_options:
        options = ", ".join(f"{name} {value!r}" for name, value in own.items())
        raise InputError(
            f"{checkpoint}: has {options}, which the nemotron_h format lacks: transformers and vLLM cannot compute "
            "this network"
        )
    check_same_size(model=model.config.vocab_size, tokenizer=vocabulary.size)
    record = _record(checkpoint)
    scores = _scores(inputs, record)
    sweep(out)
    save_checkpoint(model, out, tokenizer_files=files, max_shard_size=config.max_shard_size)
    card = model_card(config, model.config, record=record, scores=scores)
    write_bytes(out / CARD, card.encode())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    weights = sorted(out.glob("*.safetensors"))
    return StageResult(
        counts={
            "parameters": parameters,
            "weights_files": len(weights),
            "weights_bytes": sum(path.stat().st_size for path in weights),
        },
        checks=(
            finite_weights(model),
            parameter_count(model, parameters),
            _reads_back(model, out),
        ),
        summary={"card": card},
    )


def _record(checkpoint: Path) -> Record | None:
    path = checkpoint / RECORD_NAME
    return Record.from_json(path.read_bytes(), str(path)) if path.is_file() else None


def _scores(inputs: Inputs, record: Record | None) -> dict[str, Any] | None:
    if not inputs.get("evaluation"):
        return None
    evaluation = one(inputs, "evaluation")
    evaluated = _record(evaluation)
    if record is not None and evaluated is not None:
        digests = {parent.digest for parent in evaluated.parents if parent.input == "checkpoint"}
        if digests != {record.digest}:
            raise InputError(f"{evaluation}: is the evaluation of another checkpoint than {record.id}")
    return read_json(evaluation / "scores.json")


def _reads_back(model: HybridLM, out: Path) -> Check:
    """The check that what was written is the network, bit for bit."""
    again = load_checkpoint(out, dtype=model.lm_head.weight.dtype).state_dict()
    differing = [name for name, tensor in model.state_dict().items() if not torch.equal(again[name], tensor)]
    return Check(
        name="reads_back",
        passed=not differing,
        description="the files hold every weight of the network, bit for bit",
        metadata={"differing": differing},
    )
