"""Run `ops.quality`."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ops.atomic import write_json
from ops.errors import InputError
from ops.quality.config import FileLabels, QualityConfig
from ops.quality.features import vectors
from ops.quality.labels import hashed, labelled
from ops.quality.model import REPORT, fit, load_model, write_model
from ops.score.excerpt import crop, take_apart
from ops.score.quality import math_score
from ops.stage import Check, Execution, Inputs, StageResult

LEAST_LABELS = 50
GOOD_SCORE = 3
"""FineMath's threshold between mathematics worth having and the rest."""


def observe(config: QualityConfig, execution: Execution) -> dict[str, str]:
    """The file of labels by its digest."""
    if not isinstance(config.labels, FileLabels) or execution.source is None:
        return {}
    path = Path(execution.source)
    if not path.is_file():
        raise InputError(f"{path}: no such file of labels")
    with path.open("rb") as stream:
        return {"labels_sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def run(config: QualityConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Train on labelled documents of `cleaned`, and measure on those held out.

    Memory: the texts of at most `max_documents` documents, and 16 bytes for each different token and pair of each.

    Raises:
        InputError: when the labels cannot be read, or there are fewer than `LEAST_LABELS`.
    """
    counts: Counter[str] = Counter(labels=0, labelled=0, documents=0)
    rows = labelled(config, inputs, execution.source, counts)
    if len(rows) < LEAST_LABELS:
        raise InputError(
            f"{execution.source or 'labels'}: {counts['labels']} labels, {len(rows)} of them with a text or the url or "
            f"doc_id of a document in `cleaned`; at least {LEAST_LABELS} are needed"
        )
    rows.sort()
    texts = [crop(text, config.max_chars) for _, text, _ in rows]
    scores = np.array([score for _, _, score in rows])
    # The hash chose the documents (the lowest ones), so another one says which of them are held out.
    held_out = np.array([hashed(text, f"held out:{config.seed}") < config.held_out_fraction for text in texts])
    if held_out.all() or not held_out.any():
        raise InputError(f"labels: held_out_fraction {config.held_out_fraction} leaves nothing to train or to test")
    trained = [text for text, held in zip(texts, held_out, strict=True) if not held]
    tested = [text for text, held in zip(texts, held_out, strict=True) if held]
    matrix = vectors(trained, config.num_features, config.max_chars)
    weights, bias = fit(matrix, scores[~held_out], config.num_features, config.l2)
    write_model(out, weights, bias, config.max_chars)
    model = load_model(out)
    truth = scores[held_out]
    report = {
        "documents": {"trained": len(trained), "held_out": len(tested)},
        "held_out": {
            "classifier": measures(np.array(model.score(tested)), truth),
            "by_rule": measures(np.array([math_score(take_apart(text)) for text in tested]), truth),
            "mean_of_labels": measures(np.full(len(tested), bias), truth),
        },
    }
    write_json(out / REPORT, report)
    classifier, mean = (report["held_out"][name] for name in ("classifier", "mean_of_labels"))
    return StageResult(
        counts={**dict(sorted(counts.items())), "trained": len(trained), "held_out": len(tested)},
        dropped={},
        checks=[
            Check(
                name="better_than_the_mean",
                passed=classifier["rmse"] < mean["rmse"],
                description="on documents held out the classifier is nearer to the labels than their mean is",
                metadata={"classifier": classifier["rmse"], "mean_of_labels": mean["rmse"]},
            )
        ],
        summary=report,
    )


def measures(scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """How near scores are to labels: errors, exact and neighbouring classes, correlation, F1 of `GOOD_SCORE` and up."""
    rounded, labels = np.rint(scores), np.rint(truth)
    found, wanted = scores >= GOOD_SCORE, truth >= GOOD_SCORE
    right = int((found & wanted).sum())
    spread = float(scores.std() * truth.std())
    return {
        "rmse": round(float(np.sqrt(((scores - truth) ** 2).mean())), 4),
        "mae": round(float(np.abs(scores - truth).mean()), 4),
        "accuracy": round(float((rounded == labels).mean()), 4),
        "within_one": round(float((np.abs(rounded - labels) <= 1).mean()), 4),
        "correlation": round(float(np.corrcoef(scores, truth)[0, 1]), 4) if spread > 0 else None,
        "f1_good": round(2 * right / max(1, int(found.sum()) + int(wanted.sum())), 4),
    }
