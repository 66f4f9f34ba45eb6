"""The stage `evaluate`: what it writes, kills, broken checkpoints, inputs that do not fit."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.hybrid import HybridLM
from ops.errors import InputError
from ops.evaluate import run as stage
from ops.evaluate.config import EvaluateConfig
from ops.evaluate.requests import task_names
from ops.evaluate.speed import measure_speed
from ops.stage import Execution
from tests.ops import eval_inputs
from tests.ops.eval_inputs import CONFIG, measured, rows_of, write_tasks

inputs, model = eval_inputs.inputs, eval_inputs.model
ONE = Execution(threads=1)
SMALL = EvaluateConfig(max_seq_len=96, batch_tokens=400, speed_prompt_tokens=8, speed_decode_tokens=2)


def files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_the_whole_stage(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    result = stage.run(SMALL, inputs, tmp_path, ONE)
    assert list(files(tmp_path)) == [
        "scores.json",
        "speed.json",
        "tasks/answers.parquet",
        "tasks/choices.parquet",
        "validation.json",
    ]
    assert result.volatile == ("speed.json",)
    checks = {check.name: check for check in result.checks}
    assert checks.keys() == {"finite", "better_than_uniform"}
    assert checks["finite"].passed
    uniform = checks["better_than_uniform"]
    assert uniform.passed == (uniform.metadata["loss"] < math.log(CONFIG.vocab_size)), "the model is not trained"
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["model"]["parameters"] == CONFIG.num_params()
    assert scores["model"]["checkpoint_bytes"] == (inputs["checkpoint"][0] / "model.safetensors").stat().st_size
    assert scores["model"]["cache_bytes_131072"] == CONFIG.cache_bytes(131072)
    assert scores["validation"] == measured(load_checkpoint(inputs["checkpoint"][0]), inputs, batch_size=4)
    assert scores["tasks"]["choices"]["truncated_contexts"] == 4
    assert scores["tasks"]["choices"]["random_accuracy"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 4) / 3)
    assert result.counts["task_documents"] == 5
    speed = json.loads((tmp_path / "speed.json").read_text())
    assert min(speed[f"{name}_tokens_per_second"] for name in ("prefill", "decode")) > 0
    assert {row["measure"] for row in result.summary["table"]} >= {"choices accuracy", "answers bits per byte"}


def test_a_killed_run_goes_on_to_the_same_bytes(
    inputs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run(SMALL, inputs, tmp_path / "whole", ONE)
    real, done = stage.score, []

    def score_once(*args: Any, **kwargs: Any) -> list[float]:
        done.append(kwargs["description"])
        if len(done) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(stage, "score", score_once)
    with pytest.raises(KeyboardInterrupt):
        stage.run(SMALL, inputs, tmp_path / "killed", ONE)
    monkeypatch.setattr(stage, "validation_scores", None)  # is not computed again
    stage.run(SMALL, inputs, tmp_path / "killed", ONE)
    assert done == ["answers", "choices", "choices"]
    whole, killed = files(tmp_path / "whole"), files(tmp_path / "killed")
    whole.pop("speed.json")
    killed.pop("speed.json")
    assert whole == killed


def test_a_broken_checkpoint_fails_the_checks(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    model = load_checkpoint(inputs["checkpoint"][0])
    with torch.no_grad():
        model.backbone.norm_f.weight[3] = torch.nan
    save_checkpoint(model, tmp_path / "nan")
    with torch.no_grad():
        model.backbone.norm_f.weight.fill_(3000.0)
    save_checkpoint(model, tmp_path / "loud")
    failed = {}
    for name in ("nan", "loud"):
        result = stage.run(SMALL, {**inputs, "checkpoint": [tmp_path / name]}, tmp_path / f"{name}.out", ONE)
        failed[name] = {check.name for check in result.checks if not check.passed and check.blocking}
    assert failed["nan"] == {"finite", "better_than_uniform"}
    assert failed["loud"] >= {"better_than_uniform"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_of("t", "multiple_choice", [("a", (" b",), 0)]), "document 0: a multiple-choice question with one"),
        (rows_of("t", "multiple_choice", [("a", (" b", " c"), 2)]), "document 0: no choice is the right one"),
        (rows_of("t", "multiple_choice", [("a", (" b", " "), 0)]), "document 0: an empty continuation"),
        (rows_of("t", "ranking", [("a", (" b", " c"), 0)]), "must be multiple_choice or gold_likelihood"),
        (rows_of("../t", "gold_likelihood", [("a", (" b",), 0)]), "not a task name that can name a file"),
        ([{"task": "t"}], "lacks the columns"),
    ],
)
def test_bad_tasks_are_refused(
    inputs: dict[str, list[Path]], tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        stage.run(SMALL, {**inputs, "eval_tasks": [write_tasks(tmp_path / "tasks", rows)]}, tmp_path / "out", ONE)


def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no tasks \['absent'\]; it has \['answers', 'choices'\]"):
        stage.run(replace(SMALL, tasks=("absent",)), inputs, tmp_path / "out", ONE)
    save_checkpoint(HybridLM.create(replace(CONFIG, vocab_size=300), seed=0), tmp_path / "narrow")
    with pytest.raises(InputError, match="tokenizer: has 320 tokens, the checkpoint only 300"):
        stage.run(SMALL, {**inputs, "checkpoint": [tmp_path / "narrow"]}, tmp_path / "out", ONE)
    with pytest.raises(InputError, match=r"tasks\.parquet: not a readable Parquet file"):
        task_names(tmp_path)
    with pytest.raises(InputError, match=r"EvaluateConfig\.task_limit: must be at least 1, got 0"):
        EvaluateConfig(task_limit=0)


def test_speed_is_measured_with_a_cache_that_grows(model: HybridLM) -> None:
    speed = measure_speed(model, prompt_tokens=5, decode_tokens=3)
    assert speed["prompt_tokens"] == 5
    assert speed["peak_memory_bytes"] > 10**7
    assert all(math.isfinite(speed[f"{name}_tokens_per_second"]) for name in ("prefill", "decode"))
