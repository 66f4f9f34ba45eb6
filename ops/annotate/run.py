"""Run `ops.annotate`."""

import heapq
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ops.annotate.config import AnnotateConfig
from ops.annotate.prompt import HIGHEST, LOWEST, NoScore, read_score
from ops.atomic import write_bytes, write_json
from ops.clean.calls import CALLS, SPEED, Calls, open_cache
from ops.clean.engines import Answer, Chat, Failure, make_engine, observe_model
from ops.clean.prompts import digest
from ops.errors import InputError
from ops.parts import part_paths, read_rows
from ops.quality.labels import LABELS, hashed
from ops.score.excerpt import crop
from ops.stage import Check, Execution, Inputs, StageResult, many, reconcile

UNLABELLED = "unlabelled.jsonl"
BATCH = 256
"""Documents put to the engine at a time."""
DETAIL_CHARS = 200
MOST_IN_VAIN = 0.5


def observe(config: AnnotateConfig, execution: Execution) -> Any:
    """The files of a model that runs here."""
    return observe_model(config.model, execution)


def run(config: AnnotateConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Ask a model for the score of a sample of `cleaned`. Drops: `no_score`, `several_scores`, `score_out_of_range`,
    `truncated`, and the failures of engines. A killed run repeats no call that was answered.

    Raises:
        InputError: when the input is absent, or the model cannot be loaded.
        EngineError: when an endpoint does not answer.
    """
    counts: Counter[str] = Counter(documents=0)
    rows = _sample(config, many(inputs, "cleaned"), counts)
    if not rows:
        raise InputError("annotate: the input `cleaned` has no documents")
    calls = Calls(config.model, make_engine(config.model, execution), open_cache(out, execution))
    labelled: list[dict[str, Any]] = []
    in_vain: list[dict[str, Any]] = []
    histogram: Counter[int] = Counter()
    dropped: Counter[str] = Counter()
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        answers = calls.generate(
            [Chat(system=config.prompt, user=crop(row["text"], config.max_chars)) for row in batch]
        )
        for row, answer in zip(batch, answers, strict=True):
            key = {name: row[name] for name in ("doc_id", "url")}
            try:
                score = _score(answer)
            except NoScore as error:
                dropped[error.reason] += 1
                shown = answer.detail if isinstance(answer, Failure) else answer.text[-DETAIL_CHARS:]
                in_vain.append({**key, "reason": error.reason, "detail": shown})
                continue
            histogram[score] += 1
            labelled.append({**key, "score": score})
        if execution.on_metrics is not None:
            execution.on_metrics(calls.speed.as_dict())
        for answer in answers:
            if isinstance(answer, Answer):
                counts.update(tokens_in=answer.tokens_in, tokens_out=answer.tokens_out)
    _write_lines(out / LABELS, labelled)
    _write_lines(out / UNLABELLED, in_vain)
    write_json(out / SPEED, calls.speed.as_dict())
    shutil.rmtree(out / CALLS, ignore_errors=True)
    totals = {**dict(sorted(counts.items())), "in": len(rows), "out": len(labelled)}
    return StageResult(
        counts=totals,
        dropped=dict(sorted(dropped.items())),
        checks=[
            reconcile(totals, dropped),
            Check(
                name="most_answers_have_a_score",
                passed=len(in_vain) <= MOST_IN_VAIN * len(rows),
                description="at least half of the answers state a score",
                metadata=dict(dropped),
                blocking=False,
            ),
        ],
        volatile=(SPEED,),
        summary={
            "labelled_by": f"{config.model.engine}-{config.model.model}@{config.model.revision}",
            "prompt_digest": digest(config.prompt),
            "documents_by_score": {str(score): histogram[score] for score in range(LOWEST, HIGHEST + 1)},
        },
    )


def _sample(config: AnnotateConfig, directories: Sequence[Path], counts: Counter[str]) -> list[Mapping[str, Any]]:
    """The documents of the lowest hashes of their text, in that order."""

    def keyed() -> Iterator[tuple[float, str, Mapping[str, Any]]]:
        for directory in directories:
            for path in part_paths(directory):
                for rows in read_rows(path, columns=["doc_id", "url", "text"]):
                    counts["documents"] += len(rows)
                    yield from ((hashed(row["text"], f"{config.seed}"), row["doc_id"], row) for row in rows)

    lowest = heapq.nsmallest(config.max_documents, keyed(), key=lambda item: item[:2])
    return [row for _, _, row in lowest]


def _score(answer: Answer | Failure) -> int:
    if isinstance(answer, Failure):
        raise NoScore(answer.reason)
    try:
        return read_score(answer.text)
    except NoScore:
        if answer.finish_reason == "length":
            raise NoScore("truncated") from None
        raise


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_bytes(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace"))
