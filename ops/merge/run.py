"""Merging checkpoints as a stage."""

from pathlib import Path

from model.checkpoint import average_checkpoints, save_checkpoint
from ops.atomic import read_json, sweep, write_json
from ops.errors import InputError
from ops.merge.config import MergeConfig, check_kept
from ops.stage import Execution, Inputs, StageResult, one
from ops.train.kept import found_steps, step_folder
from ops.train.result import RESULT, clear_model_errors, finite_weights, parameter_count
from ops.train.vocabulary import tokenizer_files

MERGE = "merge.json"


def run(config: MergeConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Average the kept checkpoints of input `checkpoint`, the directory of a finished run, in float64; `out` becomes a
    `nemotron_h` checkpoint directory, with `merge.json`: the steps and their coefficients.

    Raises:
        InputError: when the input is no such run, or a step of the window was not kept (names them).
    """
    source = one(inputs, "checkpoint")
    end = _last_step(source)
    check_kept(config, found_steps(source), end)
    steps, coefficients = config.steps(end), config.coefficients()
    folders = [source if step == end else step_folder(source, step) for step in steps]
    with clear_model_errors():
        model = average_checkpoints(folders, coefficients)
    sweep(out)
    save_checkpoint(model, out, tokenizer_files=tokenizer_files(source))
    merged = [{"step": step, "coefficient": weight} for step, weight in zip(steps, coefficients, strict=True)]
    write_json(out / MERGE, {"weights": config.weights, "checkpoints": merged})
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return StageResult(
        counts={"checkpoints": len(steps), "parameters": parameters},
        checks=(finite_weights(model), parameter_count(model, parameters)),
        summary={"checkpoints": merged},
    )


def _last_step(source: Path) -> int:
    if not (source / RESULT).is_file():
        raise InputError(f"{source}: holds no {RESULT}: not the directory of a finished training run")
    try:
        return int(read_json(source / RESULT)["result"]["counts"]["steps"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{source / RESULT}: is no result of a training run: {error!r}") from error
