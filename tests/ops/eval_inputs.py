"""Small inputs of evaluation, and a likelihood computed directly."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer

from model.checkpoint import save_checkpoint
from model.hybrid import HybridLM
from ops.data import TokenData
from ops.evaluate.validation import validation_scores
from ops.train.validation import document_sources
from ops.train.vocabulary import read_vocabulary
from tests.ops.training_inputs import tiny_model, write_inputs

CONFIG = tiny_model(320, pattern="M*-M")


QUESTIONS = (
    ("Which function reads JSON? Answer:", (" loads", " the wrapper of text", " shuffle"), 0),
    ("Short", (" yes", " no"), 1),
    ("What does dedent do? " * 12 + "Answer:", (" Remove leading whitespace from every line", " raise", " x", " y"), 0),
)


GOLD = [("The sequence is", (" a list of items.",), 0), ("", ("Return a string.",), 0)]


def rows_of(task: str, kind: str, questions: Sequence[tuple[str, Sequence[str], int]]) -> list[dict[str, Any]]:
    return [
        {
            "task": task,
            "kind": kind,
            "doc_index": number,
            "choice_index": index,
            "context": context,
            "continuation": choice,
            "gold": index == gold,
        }
        for number, (context, choices, gold) in enumerate(questions)
        for index, choice in enumerate(choices)
    ]


TASKS = [*rows_of("choices", "multiple_choice", QUESTIONS), *rows_of("answers", "gold_likelihood", GOLD)]


def write_tasks(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "tasks.parquet")
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("evaluate")
    made = write_inputs(folder, validation_fraction=0.4)
    save_checkpoint(HybridLM.create(CONFIG, seed=2), folder / "checkpoint")
    return {**made, "checkpoint": [folder / "checkpoint"], "eval_tasks": [write_tasks(folder / "tasks", TASKS)]}


@pytest.fixture(scope="module")
def tokenizer(inputs: dict[str, list[Path]]) -> Tokenizer:
    return Tokenizer.from_file(str(inputs["tokenizer"][0] / "tokenizer.json"))


@pytest.fixture(scope="module")
def model() -> HybridLM:
    """Weights large enough to have opinions."""
    model = HybridLM.create(CONFIG, seed=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    return model.eval()


@torch.no_grad()
def nats_of(model: HybridLM, context: Sequence[int], continuation: Sequence[int]) -> float:
    ids = torch.tensor([[*context, *continuation]])
    log_probs = model(ids)[0].double().log_softmax(-1)
    at = torch.arange(len(context) - 1, ids.shape[1] - 1)
    return -float(log_probs[at, ids[0, at + 1]].sum())


def measured(model: HybridLM, inputs: dict[str, list[Path]], **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"batch_size": 3, "seq_len": 96, "max_tokens": None, "max_sources": 16}
    return validation_scores(
        model,
        TokenData.open(inputs["training_set"][0], inputs["tokens"]),
        token_bytes=read_vocabulary(inputs["tokenizer"][0]).token_bytes,
        source_of=document_sources(inputs["training_set"][0]),
        **{**settings, **changes},
    )
