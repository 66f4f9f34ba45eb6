"""Evaluation against direct computation: documents one by one, choices one by one, a network that can be read."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer

from model.hybrid import HybridLM
from ops.data import TokenData
from ops.evaluate.metrics import task_scores
from ops.evaluate.requests import batched, read_task, score
from ops.train.distributed import world
from ops.train.validation import Validation
from ops.train.vocabulary import read_vocabulary
from tests.ops import eval_inputs
from tests.ops.eval_inputs import CONFIG, QUESTIONS, TASKS, measured, nats_of, rows_of, write_tasks
from tests.ops.training_inputs import EOD, SOURCES, standard_library_texts

inputs, tokenizer, model = eval_inputs.inputs, eval_inputs.tokenizer, eval_inputs.model


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
