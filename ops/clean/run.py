"""The stage: DOCUMENTS parts to CLEANED parts."""

import shutil
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ops.atomic import write_json
from ops.clean.calls import CALLS, SPEED, Calls, open_cache
from ops.clean.cleaner import Cleaner, Outcome, clean_documents
from ops.clean.config import CleanConfig, LlmCleaner, RuleCleaner
from ops.clean.document import FormulaMismatch, ProtectedDocument, protect
from ops.clean.engines import make_engine, observe_model
from ops.clean.model import Model
from ops.clean.prompts import digest
from ops.clean.rules import Rules
from ops.parts import Batch, Row, Totals, part_paths, read_rows, run_parts
from ops.schema import CLEANED, PROVENANCE
from ops.stage import Check, Execution, Inputs, StageResult, one, reconcile

_PROVENANCE = [field.name for field in PROVENANCE]
NUM_SAMPLES = 3
SAMPLE_CHARS = 300
LLM_BATCH_ROWS = 1024


def observe(config: CleanConfig, execution: Execution) -> Any:
    """Name, size and time of modification (ns) of every file of a model that runs here; None where none does.

    Raises:
        InputError: when `execution.source` is no folder.
    """
    return None if config.llm is None else observe_model(config.llm, execution)


def run(config: CleanConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Clean every document. Drops: `too_short`, `no_alphabet`, `repetition`, `formula_offsets`; with a model
    `no_useful_content`.

    With a model, `execution.source` says where it lies, and `speed.json` (volatile) how fast it was.

    Raises:
        InputError: when the input is absent or a part cannot be read, or the model cannot be loaded.
        EngineError: when an endpoint does not answer.
    """
    source = one(inputs, "documents")
    llm = config.llm
    if llm is None:
        totals = run_parts(
            source,
            out,
            CLEANED,
            partial(_by_rules, config.rules),
            stage="clean",
            num_processes=execution.num_processes,
        )
        return _report(config, totals, _samples(source, out), [])
    rules = Rules(config.rules)
    model: Model | None = None

    def by_model(rows: list[Row]) -> Batch:
        nonlocal model
        model = model or _model(llm, rules, out, execution)
        batch = _clean(model, rules, rows, max_moved=llm.tolerance.max_moved)
        batch.counts.update(model.tokens)
        model.tokens.clear()
        if execution.on_metrics is not None:
            execution.on_metrics(model.calls.speed.as_dict())
        return batch

    totals = run_parts(source, out, CLEANED, by_model, stage="clean", batch_rows=LLM_BATCH_ROWS)
    write_json(out / SPEED, {} if model is None else model.calls.speed.as_dict())
    shutil.rmtree(out / CALLS, ignore_errors=True)
    return _report(config, totals, _samples(source, out), [SPEED])


def _by_rules(config: RuleCleaner, rows: list[Row]) -> Batch:
    rules = Rules(config)
    return _clean(rules, rules, rows)


def _clean(cleaner: Cleaner, rules: Rules, rows: list[Row], *, max_moved: float = 0.0) -> Batch:
    """Clean the rows whose formulas are where they say, and drop the others."""
    batch = Batch()
    sound: list[Row] = []
    documents: list[ProtectedDocument] = []
    for row in rows:
        try:
            documents.append(protect(row["doc_id"], row["title"], row["text"], row["formulas"]))
        except FormulaMismatch as error:
            batch.counts["formulas_in"] += len(row["formulas"])
            batch.counts["formulas_in_dropped_documents"] += len(row["formulas"])
            batch.drop(row, "formula_offsets", str(error))
            continue
        sound.append(row)
    outcomes = clean_documents(cleaner, rules, sound, batch.counts, max_moved=max_moved, documents=documents)
    for row, outcome in zip(sound, outcomes, strict=True):
        _settle(batch, row, outcome)
    return batch


def _model(config: LlmCleaner, rules: Rules, out: Path, execution: Execution) -> Model:
    return Model(config, rules, Calls(config, make_engine(config, execution), open_cache(out, execution)))


def _report(config: CleanConfig, totals: Totals, samples: list[dict[str, Any]], volatile: list[str]) -> StageResult:
    counts = totals.counts
    formulas = {
        name: counts.get(f"formulas_{name}", 0)
        for name in ("in", "out", "in_dropped_paragraphs", "in_dropped_documents")
    }
    rejected = {name: count for name, count in counts.items() if name.startswith("rejected_")}
    prefix = "chunks_rejected_"
    reasons = {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}
    chunks = {"chunks": counts.get("chunks", 0), "accepted": counts.get("chunks_accepted", 0), "rejected": reasons}
    summary: dict[str, Any] = {"rejected": rejected, "formulas": formulas, "samples": samples}
    if config.llm is not None:
        summary["llm"] = {
            "cleaner": config.llm.name,
            "prompt_digest": digest(config.llm.prompt),
            **chunks,
            "rejection_rate": round(sum(reasons.values()) / max(1, chunks["chunks"]), 6),
            "documents_with_rejected_chunks": counts.get("documents_with_rejected_chunks", 0),
            "tokens_in": counts.get("tokens_in", 0),
            "tokens_out": counts.get("tokens_out", 0),
        }
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
                name="chunks_reconcile",
                passed=chunks["chunks"] == chunks["accepted"] + sum(reasons.values()),
                description="chunks put to a model = answers taken + answers rejected, by reason",
                metadata=chunks,
            ),
            Check(
                name="cleaner_kept_the_contract",
                passed=not rejected and not reasons,
                description="no output of the cleaner had to be rejected",
                metadata={**rejected, **{f"{prefix}{name}": count for name, count in reasons.items()}},
                blocking=False,
            ),
        ],
        volatile=volatile,
        summary=summary,
    )


def _settle(batch: Batch, row: Row, outcome: Outcome) -> None:
    """Keep or drop one document and count what became of its paragraphs and formulas."""
    cleaned = outcome.document
    counts: Counter[str] = batch.counts
    counts["formulas_in"] += len(row["formulas"])
    if outcome.num_chunks:
        counts["chunks"] += outcome.num_chunks
        counts["chunks_accepted"] += outcome.accepted_chunks
        counts.update(f"chunks_rejected_{reason}" for reason in outcome.rejected_chunks)
        counts["documents_with_rejected_chunks"] += bool(outcome.rejected_chunks)
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
            "num_chunks": outcome.num_chunks,
            "rejected_chunks": list(outcome.rejected_chunks),
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
