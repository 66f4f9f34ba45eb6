"""Evaluation tasks as requests: a context, a continuation, and the likelihood of the second given the first.

Shape suffixes: B rows, L positions, T scored tokens, D model width.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer

from kernels.linear_loss import linear_token_losses
from model.hybrid import HybridLM
from ops.errors import InputError
from ops.parts import read_rows
from ops.progress import track

TASKS = "tasks.parquet"
COLUMNS = ["task", "kind", "doc_index", "choice_index", "context", "continuation", "gold"]
IGNORED = -100
Kind = Literal["multiple_choice", "gold_likelihood"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One choice of one document, in tokens."""

    doc_index: int
    choice_index: int
    gold: bool
    num_bytes: int
    """UTF-8 bytes of the continuation."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]
    truncated: bool
    """Whether the context lost its beginning."""

    @property
    def length(self) -> int:
        """Input tokens: the last one of the continuation is only predicted."""
        return len(self.context) + len(self.continuation) - 1


@dataclass(frozen=True, kw_only=True)
class Task:
    """The requests of a task, by document and choice."""

    name: str
    kind: Kind
    requests: list[Request]
    too_long: int
    """Documents left out because a continuation does not fit into the longest sequence."""


def task_names(directory: Path) -> list[str]:
    """Names of the tasks of an `ops.eval_tasks` artefact, sorted.

    Raises:
        InputError: when `tasks.parquet` cannot be read or lacks a column.
    """
    path = directory / TASKS
    names = sorted({row["task"] for rows in read_rows(path, columns=["task"]) for row in rows})
    missing = sorted(set(COLUMNS) - set(pq.read_schema(path).names))
    if missing:
        raise InputError(f"{path}: lacks the columns {missing}")
    return names


def read_task(
    directory: Path, name: str, tokenizer: Tokenizer, *, eod_id: int, max_seq_len: int, limit: int | None, seed: int
) -> Task:
    """The requests of a task, or of `limit` documents of it drawn by `seed`.

    Spaces at the end of a context go to the continuation, where a tokenizer expects them. Context and continuation are
    tokenized each by itself. A context that is too long loses its beginning; an empty one becomes the end of a
    document, which is what training sees before a text.

    Raises:
        InputError: for a task without documents, with two kinds, an empty continuation, no right choice, or fewer than
            two choices.
    """
    path = directory / TASKS
    rows = pq.read_table(path, columns=COLUMNS, filters=[("task", "==", name)]).to_pylist()
    kinds = sorted({row["kind"] for row in rows})
    if kinds not in (["multiple_choice"], ["gold_likelihood"]):
        raise InputError(f"{path}: task {name!r} must be multiple_choice or gold_likelihood, found {kinds}")
    documents: dict[int, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["doc_index"], row["choice_index"])):
        documents.setdefault(row["doc_index"], []).append(row)
    chosen = sorted(documents)
    if limit is not None and limit < len(chosen):
        chosen = sorted(random.Random(f"{seed}:{name}").sample(chosen, limit))
    requests: list[Request] = []
    too_long = 0
    for index in chosen:
        choices = documents[index]
        _check_choices(path, name, kinds[0], choices)
        encoded = [_encode(row, tokenizer, eod_id=eod_id, max_seq_len=max_seq_len) for row in choices]
        if any(len(request.continuation) > max_seq_len for request in encoded):
            too_long += 1
        else:
            requests += encoded
    return Task(name=name, kind=kinds[0], requests=requests, too_long=too_long)


def _check_choices(path: Path, task: str, kind: str, choices: Sequence[dict[str, Any]]) -> None:
    where = f"{path}: task {task!r}, document {choices[0]['doc_index']}"
    if kind == "multiple_choice" and len(choices) < 2:
        raise InputError(f"{where}: a multiple-choice question with one choice")
    if not any(row["gold"] for row in choices):
        raise InputError(f"{where}: no choice is the right one")
    if not all(row["continuation"].strip() for row in choices):
        raise InputError(f"{where}: an empty continuation")


def _encode(row: dict[str, Any], tokenizer: Tokenizer, *, eod_id: int, max_seq_len: int) -> Request:
    context = row["context"].rstrip(" ")
    continuation = row["context"][len(context) :] + row["continuation"]
    context_ids = tokenizer.encode(context, add_special_tokens=False).ids or [eod_id]
    continuation_ids = tokenizer.encode(continuation, add_special_tokens=False).ids
    room = max(1, max_seq_len + 1 - len(continuation_ids))
    return Request(
        doc_index=row["doc_index"],
        choice_index=row["choice_index"],
        gold=row["gold"],
        num_bytes=len(continuation.encode()),
        context=tuple(context_ids[-room:]),
        continuation=tuple(continuation_ids),
        truncated=len(context_ids) > room,
    )


@torch.no_grad()
def score(
    model: HybridLM, requests: Sequence[Request], *, batch_tokens: int, description: str = "tasks"
) -> list[float]:
    """-log p(continuation | context) of each request in nats.

    Rows are padded on the right, where a causal model does not look.
    """
    device = model.lm_head.weight.device
    nats = [0.0] * len(requests)
    batches = list(batched([request.length for request in requests], batch_tokens))
    for batch in track(batches, description=description, unit="batch"):
        width = max(requests[index].length for index in batch)
        input_ids_BL = torch.zeros(len(batch), width, dtype=torch.int64)
        labels_BL = torch.full((len(batch), width), IGNORED, dtype=torch.int64)
        for row, index in enumerate(batch):
            request = requests[index]
            ids = torch.tensor(request.context + request.continuation)
            input_ids_BL[row, : request.length] = ids[:-1]
            labels_BL[row, len(request.context) - 1 : request.length] = ids[len(request.context) :]
        scored_BL = labels_BL != IGNORED
        hidden_TD = model.hidden_states(input_ids_BL.to(device))[scored_BL.to(device)]
        labels_T, cap = labels_BL[scored_BL].to(device), model.config.final_logit_softcapping
        losses_T = linear_token_losses(hidden_TD, model.lm_head.weight, labels_T, cap=cap)
        parts = losses_T.double().cpu().split(scored_BL.sum(1).tolist())
        for index, part in zip(batch, parts, strict=True):
            nats[index] = float(part.sum())
    return nats


def batched(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of rows in batches of at most `batch_tokens` (length of the longest row times rows), longest first."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
