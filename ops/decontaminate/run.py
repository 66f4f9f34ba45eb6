"""Stage `ops.decontaminate`: deduplicated documents in, documents without evaluation items out."""

import json
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
    index = Index.load(one(inputs, "eval_tasks"), config)

    def transform(rows: list[Row]) -> Batch:
        batch = Batch()
        for row, match in zip(rows, find([row["text"] for row in rows], index), strict=True):
            if match is None:
                batch.keep(row)
            else:
                batch.drop(row, "contaminated", evidence(match))
                batch.counts[f"contaminated_{match.task}"] += 1
                batch.counts[f"rule_{match.rule}"] += 1
        return batch

    totals = run_parts(one(inputs, "deduplicated"), out, CORPUS, transform, stage="decontaminate")
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
