"""Stage `ops.score`: cleaned documents in, scored documents out."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ops.errors import InputError
from ops.parts import Batch, Row, run_parts
from ops.quality.model import load_model
from ops.schema import SCORED
from ops.score.classifier import TrainedElsewhere, observe_classifier
from ops.score.config import Classifier, ScoreConfig
from ops.score.excerpt import crop, take_apart
from ops.score.language import identify, model_version
from ops.score.quality import int_score, math_score
from ops.stage import Execution, Inputs, StageResult, one, reconcile


def observe(config: ScoreConfig, execution: Execution) -> dict[str, str]:
    """The language model comes with a package: its version and digest. Files of a classifier by their digests."""
    classifier = observe_classifier(config.classifier, execution.source) if config.classifier is not None else {}
    return {**model_version(), **classifier}


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
    """Score every document of `cleaned`: by rule, with the model of `ops.quality` in the input `quality_model`, or with
    a classifier that others trained.

    Counters beside `in` and `out`: `language_<code>` and `int_score_<0..5>`, over all documents that came in.
    """
    if config.classifier is not None and inputs.get("quality_model"):
        raise InputError("score: a classifier and an input `quality_model`, give one of them")
    quality_model = one(inputs, "quality_model") if inputs.get("quality_model") else None
    _model.cache_clear()
    elsewhere: TrainedElsewhere | None = None

    def by_classifier(classifier: Classifier, texts: list[str]) -> Sequence[float | None]:
        nonlocal elsewhere
        elsewhere = elsewhere or TrainedElsewhere(classifier, execution.source, device=execution.device)
        return elsewhere.score(texts, config.max_scored_chars)

    if config.classifier is None:
        learn, num_processes = partial(_learnt, quality_model), execution.num_processes
    else:
        learn, num_processes = partial(by_classifier, config.classifier), 1
    totals = run_parts(
        one(inputs, "cleaned"),
        out,
        SCORED,
        partial(_score, config, learn),
        stage="score",
        num_processes=num_processes,
    )
    histogram = {str(score): totals.counts.get(f"int_score_{score}", 0) for score in range(6)}
    by = "rule" if quality_model is None else "quality_model"
    if config.classifier is not None:
        by = f"{config.classifier.name}@{config.classifier.revision}"
    return StageResult(
        counts=totals.counts,
        dropped=totals.dropped,
        checks=[reconcile(totals.counts, totals.dropped)],
        summary={"documents_by_int_score": histogram, "scored_by": by},
    )


_model = lru_cache(maxsize=1)(load_model)
"""Once in each process."""


def _learnt(quality_model: Path | None, texts: list[str]) -> Sequence[float | None]:
    return [None] * len(texts) if quality_model is None else _model(quality_model).score(texts)


def _score(config: ScoreConfig, learn: Callable[[list[str]], Sequence[float | None]], rows: list[Row]) -> Batch:
    batch = Batch()
    for row, score in zip(rows, learn([row["text"] for row in rows]), strict=True):
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
