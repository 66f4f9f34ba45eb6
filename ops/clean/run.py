"""The stage: DOCUMENTS parts to CLEANED parts."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ops.clean.cleaner import Outcome, clean_documents, make_cleaner
from ops.clean.config import CleanConfig
from ops.clean.document import FormulaMismatch, protect
from ops.parts import Batch, Row, part_paths, read_rows, run_parts
from ops.schema import CLEANED, PROVENANCE
from ops.stage import Check, Execution, Inputs, StageResult, one, reconcile

_PROVENANCE = [field.name for field in PROVENANCE]
NUM_SAMPLES = 3
SAMPLE_CHARS = 300


def run(config: CleanConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Clean every document. Drops: `too_short`, `no_alphabet`, `repetition`, `formula_offsets`.

    Raises:
        InputError: when the input is absent or a part cannot be read.
    """
    source = one(inputs, "documents")
    cleaner, fallback = make_cleaner(config.cleaner), make_cleaner(config.fallback)

    def transform(rows: list[Row]) -> Batch:
        batch = Batch()
        sound: list[Row] = []
        for row in rows:
            try:
                protect(row["doc_id"], row["title"], row["text"], row["formulas"])
            except FormulaMismatch as error:
                batch.counts["formulas_in"] += len(row["formulas"])
                batch.counts["formulas_in_dropped_documents"] += len(row["formulas"])
                batch.drop(row, "formula_offsets", str(error))
                continue
            sound.append(row)
        outcomes = clean_documents(cleaner, fallback, sound, batch.counts)
        for row, outcome in zip(sound, outcomes, strict=True):
            _settle(batch, row, outcome)
        return batch

    totals = run_parts(source, out, CLEANED, transform, stage="clean")
    counts = totals.counts
    formulas = {
        name: counts.get(f"formulas_{name}", 0)
        for name in ("in", "out", "in_dropped_paragraphs", "in_dropped_documents")
    }
    rejected = {name: count for name, count in counts.items() if name.startswith("rejected_")}
    return StageResult(
        counts=counts,
        dropped=totals.dropped,
        checks=[
            reconcile(counts, totals.dropped),
            Check(
                name="formulas_reconcile",
                passed=formulas["in"] == sum(formulas.values()) - formulas["in"],
                description="formulas in = kept + in dropped paragraphs + in dropped documents",
                metadata=formulas,
            ),
            Check(
                name="cleaner_kept_the_contract",
                passed=not rejected,
                description="no output of the cleaner had to be rejected",
                metadata=rejected,
                blocking=False,
            ),
        ],
        summary={"rejected": rejected, "formulas": formulas, "samples": _samples(source, out)},
    )


def _settle(batch: Batch, row: Row, outcome: Outcome) -> None:
    """Keep or drop one document and count what became of its paragraphs and formulas."""
    cleaned = outcome.document
    counts: Counter[str] = batch.counts
    counts["formulas_in"] += len(row["formulas"])
    if cleaned.drop_reason is not None:
        counts["formulas_in_dropped_documents"] += len(row["formulas"])
        batch.drop(row, cleaned.drop_reason, cleaned.drop_detail)
        return
    counts["formulas_out"] += len(cleaned.formulas)
    counts["formulas_in_dropped_paragraphs"] += sum(len(paragraph.formulas) for paragraph in cleaned.dropped)
    counts["paragraphs_dropped"] += len(cleaned.dropped)
    counts.update(f"paragraphs_dropped_{paragraph.reason}" for paragraph in cleaned.dropped)
    counts["characters_in"] += len(row["text"])
    counts["characters_out"] += len(cleaned.text)
    batch.keep(
        {
            **{name: row[name] for name in _PROVENANCE},
            "title": row["title"],
            "text": cleaned.text,
            "num_formulas": len(cleaned.formulas),
            "cleaner": outcome.cleaner,
            "num_paragraphs_dropped": len(cleaned.dropped),
            "formulas": [{name: place[name] for name in ("index", "start", "end")} for place in cleaned.formulas],
            "dropped_paragraphs": [asdict(paragraph) for paragraph in cleaned.dropped],
        }
    )


def _samples(source: Path, out: Path) -> list[dict[str, Any]]:
    """The first documents that lost a paragraph, with the place where text before and after part."""
    samples: list[dict[str, Any]] = []
    for part in part_paths(out):
        wanted: dict[str, Row] = {}
        for rows in read_rows(part, columns=["doc_id", "url", "text", "num_paragraphs_dropped"]):
            for row in rows:
                if row["num_paragraphs_dropped"] and len(samples) + len(wanted) < NUM_SAMPLES:
                    wanted[row["doc_id"]] = row
        if not wanted:
            continue
        for rows in read_rows(source / part.name, columns=["doc_id", "text"]):
            for row in rows:
                after = wanted.get(row["doc_id"])
                if after is not None:
                    place = _first_difference(row["text"], after["text"])
                    samples.append(
                        {
                            "doc_id": after["doc_id"],
                            "url": after["url"],
                            "before": row["text"][place : place + SAMPLE_CHARS],
                            "after": after["text"][place : place + SAMPLE_CHARS],
                        }
                    )
        if len(samples) >= NUM_SAMPLES:
            break
    return samples


def _first_difference(before: str, after: str) -> int:
    place = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    return max(0, place - SAMPLE_CHARS // 3)
