"""Stage `ops.decontaminate`: deduplicated documents in, documents without evaluation items out."""

import json
from functools import lru_cache, partial
from pathlib import Path

from ops.decontaminate.config import DecontaminateConfig
from ops.decontaminate.index import Index
from ops.decontaminate.match import Match, find
from ops.parts import Batch, Row, run_parts
from ops.schema import CORPUS
from ops.stage import Execution, Inputs, StageResult, one, reconcile


def evidence(match: Match) -> str:
    """A match as canonical JSON."""
    found = {"task": match.task, "item": match.doc_index, "rule": match.rule, "matched": " ".join(match.tokens)}
    return json.dumps(found, sort_keys=True, ensure_ascii=False)


def run(config: DecontaminateConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Drop the documents of `deduplicated` that hold an item of `eval_tasks`, as `contaminated`.

    Counters: `contaminated_<task>` and `rule_<rule>`.
    """
    eval_tasks = one(inputs, "eval_tasks")
    _index.cache_clear()
    index = _index(eval_tasks, config)
    totals = run_parts(
        one(inputs, "deduplicated"),
        out,
        CORPUS,
        partial(_check, eval_tasks, config),
        stage="decontaminate",
        num_processes=execution.num_processes,
    )
    return StageResult(
        counts=totals.counts,
        dropped=totals.dropped,
        checks=[reconcile(totals.counts, totals.dropped)],
        summary={
            "items": len(index.items),
            "windows": len(index),
            "items_too_short_to_check": dict(sorted(index.unchecked.items())),
        },
    )


@lru_cache(maxsize=1)
def _index(eval_tasks: Path, config: DecontaminateConfig) -> Index:
    """Once in each process."""
    return Index.load(eval_tasks, config)


def _check(eval_tasks: Path, config: DecontaminateConfig, rows: list[Row]) -> Batch:
    batch = Batch()
    for row, match in zip(rows, find([row["text"] for row in rows], _index(eval_tasks, config)), strict=True):
        if match is None:
            batch.keep(row)
        else:
            batch.drop(row, "contaminated", evidence(match))
            batch.counts[f"contaminated_{match.task}"] += 1
            batch.counts[f"rule_{match.rule}"] += 1
    return batch
