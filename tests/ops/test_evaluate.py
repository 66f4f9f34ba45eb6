"""Evaluation against direct computation: documents one by one, choices one by one, a network that can be read."""

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import binomtest
from tokenizers import Tokenizer

from model.checkpoint import load_checkpoint, save_checkpoint
from model.hybrid import HybridLM
from ops.data import TokenData
from ops.errors import InputError
from ops.evaluate import run as stage
from ops.evaluate.config import EvaluateConfig
from ops.evaluate.metrics import ratio_interval, task_scores, wilson_interval
from ops.evaluate.requests import batched, read_task, score, task_names
from ops.evaluate.speed import measure_speed
from ops.evaluate.validation import validation_scores
from ops.stage import Execution
from ops.train.distributed import world
from ops.train.validation import Validation, document_sources
from ops.train.vocabulary import read_vocabulary
from tests.ops.training_inputs import EOD, SOURCES, standard_library_texts, tiny_model, write_inputs

ONE = Execution(threads=1)
CONFIG = tiny_model(320, pattern="M*-M")
SMALL = EvaluateConfig(max_seq_len=96, batch_tokens=400, speed_prompt_tokens=8, speed_decode_tokens=2)
QUESTIONS = (
    ("Which function reads JSON? Answer:", (" loads", " the wrapper of text", " shuffle"), 0),
    ("Short", (" yes", " no"), 1),
    ("What does dedent do? " * 12 + "Answer:", (" Remove leading whitespace from every line", " raise", " x", " y"), 0),
)


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


def write_tasks(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "tasks.parquet")
    return folder


GOLD = [("The sequence is", (" a list of items.",), 0), ("", ("Return a string.",), 0)]
TASKS = [*rows_of("choices", "multiple_choice", QUESTIONS), *rows_of("answers", "gold_likelihood", GOLD)]


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


def validation_documents(inputs: dict[str, list[Path]]) -> list[dict[str, Any]]:
    rows = pq.read_table(inputs["training_set"][0] / "documents.parquet").to_pylist()
    return [row for row in rows if row["split"] == "validation"]


def test_bits_per_byte_are_those_of_the_documents_one_by_one(
    model: HybridLM, inputs: dict[str, list[Path]], tokenizer: Tokenizer
) -> None:
    documents = validation_documents(inputs)
    texts = {f"{number:016x}": text for number, text in enumerate(standard_library_texts())}
    nats, size, tokens = ({source: 0.0 for source in SOURCES} for _ in range(3))
    for row in documents:
        encoding = tokenizer.encode(texts[row["doc_id"]])
        nats[row["source"]] += nats_of(model, encoding.ids[:1], [*encoding.ids[1:], EOD])
        first = tokenizer.decode(encoding.ids[:1])
        size[row["source"]] += len(texts[row["doc_id"]].encode()) - len(first.encode())
        tokens[row["source"]] += len(encoding.ids)
    total = sum(row["token_length"] for row in documents)
    found = measured(model, inputs, seq_len=total, batch_size=1)  # one row: no document is cut
    assert len(documents) > 5
    assert found["tokens"] == sum(tokens.values())
    assert found["bytes"] == sum(size.values())
    assert found["loss"] == pytest.approx(sum(nats.values()) / sum(tokens.values()), rel=1e-6)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["bits_per_byte"] == pytest.approx(sum(nats.values()) / sum(size.values()) / math.log(2), rel=1e-6)
    for source, scores in found["sources"].items():
        assert scores["bits_per_byte"] == pytest.approx(nats[source] / size[source] / math.log(2), rel=1e-6)
        assert (scores["tokens"], scores["bytes"]) == (tokens[source], size[source])


@pytest.mark.parametrize("max_tokens", [None, 700])
def test_training_and_evaluation_agree(model: HybridLM, inputs: dict[str, list[Path]], max_tokens: int | None) -> None:
    found = measured(model, inputs, max_tokens=max_tokens, seq_len=50)
    training_set = inputs["training_set"][0]
    data = TokenData.open(training_set, inputs["tokens"])
    with world("cpu") as here:
        expected = Validation(
            data,
            training_set,
            token_bytes=read_vocabulary(inputs["tokenizer"][0]).token_bytes,
            num_sequences=(max_tokens or data.num_tokens("validation") + 49) // 50,
            batch_size=4,
            seq_len=50,
            world=here,
        ).measure(model)
    for name in ("loss", "bits_per_byte"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6)


def test_small_sources_have_no_line_but_count(model: HybridLM, inputs: dict[str, list[Path]]) -> None:
    everything, largest = measured(model, inputs), measured(model, inputs, max_sources=1)
    tokens = {source: scores["tokens"] for source, scores in everything["sources"].items()}
    assert len(tokens) > 1
    assert list(largest["sources"]) == [max(tokens, key=lambda source: tokens[source])]
    assert largest["loss"] == everything["loss"]
    assert sum(tokens.values()) == everything["tokens"]


def read(inputs: dict[str, list[Path]], name: str, tokenizer: Tokenizer, **changes: Any) -> Any:
    settings = {"eod_id": EOD, "max_seq_len": 400, "limit": None, "seed": 0}
    return read_task(inputs["eval_tasks"][0], name, tokenizer, **{**settings, **changes})


@pytest.mark.parametrize("batch_tokens", [1, 300, 10_000])
def test_padded_batches_score_as_single_rows(
    model: HybridLM, inputs: dict[str, list[Path]], tokenizer: Tokenizer, batch_tokens: int
) -> None:
    requests = read(inputs, "choices", tokenizer).requests + read(inputs, "answers", tokenizer).requests
    found = score(model, requests, batch_tokens=batch_tokens)
    for request, value, row in zip(requests, found, TASKS, strict=True):
        context = tokenizer.encode(row["context"]).ids or [EOD]
        continuation = tokenizer.encode(row["continuation"]).ids
        assert (request.doc_index, request.choice_index) == (row["doc_index"], row["choice_index"])
        assert value == pytest.approx(nats_of(model, context, continuation), rel=1e-5)


def test_a_long_context_loses_its_beginning_and_is_counted(
    model: HybridLM, inputs: dict[str, list[Path]], tokenizer: Tokenizer
) -> None:
    task = read(inputs, "choices", tokenizer, max_seq_len=60)
    (row,) = [row for row in TASKS if row["doc_index"] == 2 and row["choice_index"] == 0 and row["task"] == "choices"]
    (request,) = [request for request in task.requests if request.doc_index == 2 and request.choice_index == 0]
    whole = [*tokenizer.encode(row["context"]).ids, *tokenizer.encode(row["continuation"]).ids]
    assert request.truncated
    assert request.length == 60
    assert [*request.context, *request.continuation] == whole[-61:]
    assert [request.truncated for request in task.requests if request.doc_index == 1] == [False, False]
    (found,) = score(model, [request], batch_tokens=100)
    assert found == pytest.approx(nats_of(model, request.context, request.continuation), rel=1e-5)
    assert read(inputs, "choices", tokenizer, max_seq_len=5).too_long > 0


def test_spaces_behind_the_context_belong_to_the_continuation(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = rows_of("t", "gold_likelihood", [("Return the  ", ("string",), 0)])
    task = read({"eval_tasks": [write_tasks(tmp_path, rows)]}, "t", tokenizer)
    (request,) = task.requests
    assert tokenizer.decode(list(request.context)) == "Return the"
    assert tokenizer.decode(list(request.continuation)) == "  string"
    assert request.num_bytes == 8


def test_a_limit_draws_documents_by_seed(tmp_path: Path, tokenizer: Tokenizer) -> None:
    questions = [(f"Question {number}", (" a", " b"), 0) for number in range(40)]
    there = {"eval_tasks": [write_tasks(tmp_path, rows_of("t", "multiple_choice", questions))]}

    def drawn(seed: int) -> list[int]:
        task = read(there, "t", tokenizer, limit=7, seed=seed)
        assert [request.choice_index for request in task.requests] == [0, 1] * 7
        return [request.doc_index for request in task.requests[::2]]

    assert len(set(drawn(0))) == 7
    assert drawn(0) == drawn(0) != drawn(1)


def test_batches_hold_each_row_once_within_the_budget() -> None:
    lengths = [3, 9, 1, 9, 4, 20, 2]
    batches = list(batched(lengths, 18))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert batches[:2] == [[5], [1, 3]]
    assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 18 for batch in batches)


def bigram_model(table_VV: torch.Tensor) -> HybridLM:
    """A network that can be read: layers that add nothing, one-hot embeddings, logits = table[last token]."""
    size = len(table_VV)
    model = HybridLM.create(replace(CONFIG, d_model=size, pattern="M"), seed=0)
    block: Any = model.backbone.layers[0]
    with torch.no_grad():
        block.mixer.out_proj.weight.zero_()
        model.backbone.embeddings.weight.copy_(torch.eye(size))
        scale = math.sqrt(1 / size + CONFIG.layer_norm_epsilon)  # the final norm divides by it
        model.lm_head.weight.copy_(table_VV.T * scale)
    return model.eval()


def test_a_network_that_knows_the_answer_chooses_it(inputs: dict[str, list[Path]], tokenizer: Tokenizer) -> None:
    generator = torch.Generator().manual_seed(0)
    table_VV = torch.rand(320, 320, generator=generator)
    for context, choices, gold in QUESTIONS[:2]:
        ids = [*tokenizer.encode(context).ids[-1:], *tokenizer.encode(choices[gold]).ids]
        for last, following in itertools.pairwise(ids):
            table_VV[last, following] = 12.0
    task = read(inputs, "choices", tokenizer)
    nats = score(bigram_model(table_VV), task.requests, batch_tokens=500)
    log_probs_VV = table_VV.double().log_softmax(-1)
    for request, value in zip(task.requests, nats, strict=True):
        ids = [request.context[-1], *request.continuation]
        expected = -sum(float(log_probs_VV[a, b]) for a, b in itertools.pairwise(ids))
        assert value == pytest.approx(expected, rel=1e-4)
    rows = [
        {"doc_index": r.doc_index, "gold": r.gold, "num_bytes": r.num_bytes, "nats": v}
        for r, v in zip(task.requests, nats, strict=True)
    ]
    known = task_scores("multiple_choice", [row for row in rows if row["doc_index"] < 2], seed=0)
    assert known["accuracy"] == known["accuracy_per_byte"] == 1.0
    for row in rows:
        row["gold"] = not row["gold"]
    assert task_scores("multiple_choice", [row for row in rows if row["doc_index"] < 2], seed=0)["accuracy"] == 0.0


def test_scores_of_a_task_by_hand() -> None:
    def choice(doc_index: int, gold: bool, num_bytes: int, nats: float) -> dict[str, Any]:
        return {"doc_index": doc_index, "gold": gold, "num_bytes": num_bytes, "nats": nats}

    rows = [
        choice(4, False, 2, 3.0),  # likelier, but not per byte
        choice(4, True, 10, 5.0),
        choice(9, True, 4, 1.0),  # both ways
        choice(9, False, 4, 2.0),
        choice(9, False, 4, 9.0),
        choice(9, False, 4, 9.0),
    ]
    scores = task_scores("multiple_choice", rows, seed=0)
    assert scores["documents"] == 2
    assert scores["accuracy"] == 0.5
    assert scores["accuracy_per_byte"] == 1.0
    assert scores["random_accuracy"] == (1 / 2 + 1 / 4) / 2
    assert scores["bits_per_byte"] == pytest.approx(6 / 14 / math.log(2))
    low, high = scores["bits_per_byte_interval"]
    assert low == pytest.approx(1 / 4 / math.log(2))
    assert high == pytest.approx(5 / 10 / math.log(2))
    alone = task_scores("gold_likelihood", rows[1:3], seed=0)
    assert set(alone) == {"kind", "documents", "bits_per_byte", "bits_per_byte_interval"}


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (1, 3), (37, 100)])
def test_the_interval_is_wilsons(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_bootstrap_interval_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    low, high = ratio_interval(values.tolist(), [2.0] * 400, seed=1)
    error = values.std() / math.sqrt(400) / 2
    assert (high + low) / 2 == pytest.approx(values.mean() / 2, abs=error / 3)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert (low, high) == ratio_interval(values.tolist(), [2.0] * 400, seed=1)


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
