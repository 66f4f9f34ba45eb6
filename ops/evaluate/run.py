"""Measure a checkpoint: held-out text, tasks, speed."""

import math
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer

from model.hybrid import HybridLM
from ops.atomic import read_json, write_json
from ops.data import TokenData
from ops.errors import InputError
from ops.evaluate.config import EvaluateConfig
from ops.evaluate.metrics import task_scores
from ops.evaluate.requests import Task, read_task, score, task_names
from ops.evaluate.speed import measure_speed
from ops.evaluate.validation import validation_scores
from ops.parts import write_rows
from ops.stage import Check, Execution, Inputs, StageResult, many, one
from ops.train.loop import deterministic
from ops.train.result import load_model
from ops.train.validation import document_sources
from ops.train.vocabulary import FILE, read_vocabulary

SCORES = "scores.json"
SPEED = "speed.json"
VALIDATION = "validation.json"
CONTEXTS = (4096, 131072)
TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]*")

LIKELIHOODS = pa.schema(
    [
        pa.field("doc_index", pa.int64(), nullable=False),
        pa.field("choice_index", pa.int64(), nullable=False),
        pa.field("gold", pa.bool_(), nullable=False),
        pa.field("num_tokens", pa.int64(), nullable=False),  # of the continuation
        pa.field("num_bytes", pa.int64(), nullable=False),  # of the continuation
        pa.field("context_tokens", pa.int64(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),  # the context lost its beginning
        pa.field("nats", pa.float64(), nullable=False),  # -log p(continuation | context)
    ]
)
"""`tasks/<task>.parquet`: every choice that was scored."""


def run(config: EvaluateConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `scores.json`, `speed.json` (volatile), `validation.json` and `tasks/<task>.parquet`.

    The last two are done one at a time and found again after a kill.

    Raises:
        InputError: when inputs do not fit each other, or a named task is not there.
    """
    with deterministic(threads=execution.threads, device=execution.device):
        return _run(config, inputs, out, execution)


def _run(config: EvaluateConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    checkpoint, tokenizer_path = one(inputs, "checkpoint"), one(inputs, "tokenizer")
    training_set, eval_tasks = one(inputs, "training_set"), one(inputs, "eval_tasks")
    model = load_model(checkpoint, torch.device(execution.device)).eval()
    data = TokenData.open(training_set, many(inputs, "tokens"))
    vocabulary = read_vocabulary(tokenizer_path)
    for name, size in (("tokenizer", vocabulary.size), ("training_set", data.vocab_size)):
        if size > model.config.vocab_size:
            raise InputError(f"{name}: has {size} tokens, the checkpoint only {model.config.vocab_size}")
    if vocabulary.size < data.vocab_size:
        raise InputError(f"tokenizer: has {vocabulary.size} tokens, the training set was made with {data.vocab_size}")
    names = _chosen(config, eval_tasks)

    if not (out / VALIDATION).exists():
        measured = validation_scores(
            model,
            data,
            token_bytes=vocabulary.token_bytes,
            source_of=document_sources(training_set),
            batch_size=max(1, config.batch_tokens // config.max_seq_len),
            seq_len=config.max_seq_len,
            max_tokens=config.max_validation_tokens,
            max_sources=config.max_sources,
        )
        write_json(out / VALIDATION, _finite_or_null(measured))
    validation = read_json(out / VALIDATION)

    tokenizer = Tokenizer.from_file(str(tokenizer_path / FILE))
    tasks: dict[str, Any] = {}
    tokens = validation["tokens"]
    for name in names:
        task = read_task(
            eval_tasks,
            name,
            tokenizer,
            eod_id=data.eod_id,
            max_seq_len=config.max_seq_len,
            limit=config.task_limit,
            seed=config.seed,
        )
        rows = _likelihoods(config, model, task, out / "tasks" / f"{name}.parquet")
        tokens += sum(request.length for request in task.requests)
        tasks[name] = {
            **task_scores(task.kind, rows, seed=config.seed),
            "truncated_contexts": sum(row["truncated"] for row in rows),
            "too_long_documents": task.too_long,
        }
    scores = {
        "model": _size(model, checkpoint),
        "validation": validation,
        "tasks": tasks,
    }
    scores = _finite_or_null(scores)
    write_json(out / SCORES, scores)
    speed = measure_speed(model, prompt_tokens=config.speed_prompt_tokens, decode_tokens=config.speed_decode_tokens)
    write_json(out / SPEED, speed)
    return StageResult(
        counts={
            "validation_tokens": validation["tokens"],
            "tasks": len(tasks),
            "task_documents": sum(task["documents"] for task in tasks.values()),
            "too_long_documents": sum(task["too_long_documents"] for task in tasks.values()),
        },
        checks=_checks(model, scores),
        tokens=tokens,
        flops=float(tokens * model.config.flops_per_token(config.max_seq_len)),
        volatile=(SPEED,),
        summary={"table": _table(scores), "sources": validation["sources"]},
    )


def _chosen(config: EvaluateConfig, eval_tasks: Path) -> list[str]:
    there = task_names(eval_tasks)
    absent = sorted(set(config.tasks) - set(there))
    if absent:
        raise InputError(f"EvaluateConfig.tasks: {eval_tasks} has no tasks {absent}; it has {there}")
    for name in there:
        if not TASK_NAME.fullmatch(name):
            raise InputError(f"{eval_tasks}: {name!r} is not a task name that can name a file")
    return sorted(set(config.tasks)) or there


def _likelihoods(config: EvaluateConfig, model: HybridLM, task: Task, path: Path) -> list[dict[str, Any]]:
    """The rows of the task's file, which is written if it is not there."""
    if not path.exists():
        nats = score(model, task.requests, batch_tokens=config.batch_tokens, description=task.name)
        rows = [
            {
                "doc_index": request.doc_index,
                "choice_index": request.choice_index,
                "gold": request.gold,
                "num_tokens": len(request.continuation),
                "num_bytes": request.num_bytes,
                "context_tokens": len(request.context),
                "truncated": request.truncated,
                "nats": value,
            }
            for request, value in zip(task.requests, nats, strict=True)
        ]
        write_rows(path, rows, LIKELIHOODS)
    return pq.read_table(path).to_pylist()


def _size(model: HybridLM, checkpoint: Path) -> dict[str, Any]:
    config = model.config
    return {
        "pattern": config.pattern,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "checkpoint_bytes": sum(path.stat().st_size for path in checkpoint.glob("*.safetensors")),
        **{f"cache_bytes_{context}": config.cache_bytes(context) for context in CONTEXTS},
    }


def _finite_or_null(value: Any) -> Any:
    """NaN and infinities as null, which JSON has and the check `finite` finds."""
    if isinstance(value, dict):
        return {key: _finite_or_null(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite_or_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _checks(model: HybridLM, scores: dict[str, Any]) -> list[Check]:
    validation = scores["validation"]
    missing = [f"validation.{name}" for name in ("loss", "bits_per_byte") if validation[name] is None]
    for name, task in scores["tasks"].items():
        missing += [f"tasks.{name}.{key}" for key, value in task.items() if value is None]
    uniform = math.log(model.config.vocab_size)
    loss = validation["loss"]
    return [
        Check(
            name="finite",
            passed=not missing,
            description="every score is a finite number",
            metadata={"not_finite": missing},
        ),
        Check(
            name="better_than_uniform",
            passed=loss is not None and loss < uniform,
            description="the validation loss is below that of equal probabilities",
            metadata={"loss": loss, "uniform": uniform},
        ),
    ]


def _table(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows (measure, value, low, high, guess) for people."""
    validation = scores["validation"]
    rows: list[dict[str, Any]] = [
        {"measure": "parameters", "value": scores["model"]["parameters"]},
        {"measure": "validation bits per byte", "value": validation["bits_per_byte"]},
        {"measure": "validation perplexity", "value": validation["perplexity"]},
    ]
    for name, task in sorted(scores["tasks"].items()):
        for key in ("accuracy", "accuracy_per_byte", "bits_per_byte"):
            if key in task:
                low, high = task[f"{key}_interval"]
                row = {"measure": f"{name} {key.replace('_', ' ')}", "value": task[key], "low": low, "high": high}
                rows.append(row if key == "bits_per_byte" else {**row, "guess": task["random_accuracy"]})
    return rows
