"""Documents of a task, read from its file."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from ops.errors import InputError
from ops.eval_tasks.published import KNOWN, read_row

UNCONDITIONAL_FROM = 1_000_000
"""`doc_id`s from here on repeat the choices behind a bare "Answer:" to normalise by; they are no documents."""

_QUESTION_KEYS = ("question", "problem", "goal", "text", "prompt", "query")
_LABEL = re.compile(r"(?:\A|\n)\s*(?:Question|Problem|Goal|Q):\s*")
_TAIL = re.compile(r"\s*\n\s*(?:Answer|Solution|A):.*\Z|\n\s*A\. .*\Z", re.S)


@dataclass(frozen=True, kw_only=True)
class Choice:
    context: str
    continuation: str
    gold: bool


@dataclass(frozen=True, kw_only=True)
class Document:
    """A question with its choices (one in a gold-likelihood task), and its text without few-shot examples."""

    doc_index: int
    question: str
    answer: str
    choices: tuple[Choice, ...]


def question_of(doc: Mapping[str, Any], context: str) -> str:
    """The question of a `requests` row, without passage, labels and choices; `context` where `doc` holds none."""
    if isinstance(doc.get("sentence"), str) and f"option{doc.get('answer')}" in doc:  # WinoGrande
        return doc["sentence"].replace("_", doc[f"option{doc['answer']}"])
    text = next((doc[key] for key in _QUESTION_KEYS if isinstance(doc.get(key), str) and doc[key].strip()), context)
    labels = list(_LABEL.finditer(text))
    if labels:
        text = text[labels[-1].end() :]
    text = _TAIL.sub("", text).strip()
    situation = doc.get("context")  # SocialIQA: the question alone is a stock phrase
    return f"{situation.strip()} {text}" if isinstance(situation, str) and len(situation) < 1000 else text


def read_requests(path: Path) -> Iterator[Document]:
    """Documents of a `requests` file.

    Raises:
        InputError: naming file and line.
    """
    pending: list[tuple[str, Mapping[str, Any]]] = []
    for where, row in _json_lines(path):
        for key, kind in (("doc_id", int), ("idx", int), ("doc", dict), ("request", dict)):
            if type(row.get(key)) is not kind:
                raise InputError(f"{where}: {key!r} is not of type {kind.__name__}")
        if not all(isinstance(row["request"].get(key), str) for key in ("context", "continuation")):
            raise InputError(f"{where}: 'request' needs the strings 'context' and 'continuation'")
        if row["doc_id"] >= UNCONDITIONAL_FROM:
            continue
        if pending and row["doc_id"] != pending[0][1]["doc_id"]:
            yield _from_requests(pending)
            pending = []
        pending.append((where, row))
    if pending:
        yield _from_requests(pending)


def _from_requests(rows: list[tuple[str, Mapping[str, Any]]]) -> Document:
    where, first = rows[0]
    if [row["idx"] for _, row in rows] != list(range(len(rows))):
        raise InputError(f"{where}: the choices ('idx') of document {first['doc_id']} are not 0, 1, 2, ...")
    label = first.get("label")
    if len(rows) > 1 and (type(label) is not int or not 0 <= label < len(rows)):
        raise InputError(f"{where}: 'label' {label!r} is no index of the {len(rows)} choices")
    choices = tuple(
        Choice(
            context=row["request"].get("perplexity_context", row["request"]["context"]),
            continuation=row["request"]["continuation"],
            gold=len(rows) == 1 or row["idx"] == label,
        )
        for _, row in rows
    )
    gold = next(choice for choice in choices if choice.gold)
    answer = gold.continuation.strip()
    return Document(
        doc_index=first["doc_id"],
        question=question_of(first["doc"], gold.context),
        answer="" if len(choices) > 1 and len(answer) == 1 and answer.isalpha() else answer,  # a choice's letter
        choices=choices,
    )


def read_questions(path: Path) -> Iterator[Document]:
    """Documents of a `questions` file, with rows of the forms of `ops.eval_tasks.published`.

    Raises:
        InputError: naming file and line.
    """
    for index, (where, row) in enumerate(_json_lines(path)):
        found = read_row(row)
        if found is None or not found[0].strip():
            raise InputError(f"{where}: no question that is known by its fields ({KNOWN}); the row has {sorted(row)}")
        yield _from_question(where, index, *found)


def read_mmlu(path: Path) -> Iterator[Document]:
    """Documents of an MMLU subject in Arrow's stream format (question, choices, answer).

    Raises:
        InputError: when the file is not of that format.
    """
    try:
        with path.open("rb") as stream, pa.ipc.open_stream(stream) as reader:
            rows = reader.read_all().to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not an Arrow stream: {error}") from error
    for index, row in enumerate(rows):
        if not {"question", "choices", "answer"} <= row.keys():
            raise InputError(f"{path}: lacks question, choices or answer")
        yield _from_question(f"{path} row {index}", index, row["question"], row["choices"], row["answer"])


READERS: Mapping[str, Callable[[Path], Iterator[Document]]] = {
    "requests": read_requests,
    "questions": read_questions,
    "mmlu": read_mmlu,
}


def format_of(path: Path) -> Literal["requests", "questions"]:
    """The format of a file of JSON lines, by its first line.

    Raises:
        InputError: when that cannot be read.
    """
    _, row = next(_json_lines(path), (None, {}))
    return "requests" if "request" in row else "questions"


def _from_question(where: str, index: int, question: str, choices: Any, gold: Any) -> Document:
    if not isinstance(choices, list) or not choices or not all(isinstance(c, str) and c for c in choices):
        raise InputError(f"{where}: choices and answers must be strings that are not empty, not {choices!r}")
    if type(gold) is not int or not 0 <= gold < len(choices):
        raise InputError(f"{where}: the right choice, {gold!r}, is none of the {len(choices)}")
    context = f"Question: {question.strip()}\nAnswer:"
    return Document(
        doc_index=index,
        question=question.strip(),
        answer=choices[gold].strip(),
        choices=tuple(
            Choice(context=context, continuation=f" {choice.strip()}", gold=number == gold)
            for number, choice in enumerate(choices)
        ),
    )


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(file:line, object)` of every line that is not blank."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        number = 0
        try:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise InputError(f"{path}:{number}: not a JSON object")
                yield f"{path}:{number}", row
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: broken gzip after line {number}: {error}") from error
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON: {error}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}:{number}: not UTF-8: {error}") from error
