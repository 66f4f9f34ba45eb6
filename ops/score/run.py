"""Stage `ops.score`: cleaned documents in, scored documents out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.parts import Batch, Row, run_parts
from ops.quality.model import load_model
from ops.schema import SCORED
from ops.score.config import ScoreConfig
from ops.score.excerpt import crop, take_apart
from ops.score.language import identify, model_version
from ops.score.quality import int_score, math_score
from ops.stage import Execution, Inputs, StageResult, one, reconcile


def observe(config: ScoreConfig, execution: Execution) -> dict[str, str]:
    """The language model comes with a package: its version and digest."""
    return model_version()


def score_row(row: Mapping[str, Any], config: ScoreConfig, learnt: float | None = None) -> Row:
    """A CLEANED row with its scores: a SCORED row. `learnt` is the score of a quality model, if there is one."""
    excerpt = take_apart(crop(row["text"], config.max_scored_chars))
    language, language_score = identify(excerpt, config)
    score = math_score(excerpt) if learnt is None else learnt
    return {
        **row,
        "language": language,
        "language_score": language_score,
        "math_score": score,
        "math_int_score": int_score(score),
    }


def run(config: ScoreConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Score every document of `cleaned`, by rule or with the model of `ops.quality` in the input `quality_model`.

    Counters beside `in` and `out`: `language_<code>` and `int_score_<0..5>`, over all documents that came in.
    """

    model = load_model(one(inputs, "quality_model")) if inputs.get("quality_model") else None

    def transform(rows: list[Row]) -> Batch:
        batch = Batch()
        learnt = model.score([row["text"] for row in rows]) if model is not None else [None] * len(rows)
        for row, score in zip(rows, learnt, strict=True):
            scored = score_row(row, config, score)
            batch.counts[f"language_{scored['language']}"] += 1
            batch.counts[f"int_score_{scored['math_int_score']}"] += 1
            if scored["language"] not in config.languages:
                batch.drop(row, "language", f"{scored['language']} {scored['language_score']:.4f}")
            elif scored["math_int_score"] < config.min_int_score:
                batch.drop(row, "below_min_score", f"{scored['math_score']:.4f}")
            else:
                batch.keep(scored)
        return batch

    totals = run_parts(one(inputs, "cleaned"), out, SCORED, transform, stage="score")
    histogram = {str(score): totals.counts.get(f"int_score_{score}", 0) for score in range(6)}
    return StageResult(
        counts=totals.counts,
        dropped=totals.dropped,
        checks=[reconcile(totals.counts, totals.dropped)],
        summary={"documents_by_int_score": histogram, "scored_by": "rule" if model is None else "quality_model"},
    )
