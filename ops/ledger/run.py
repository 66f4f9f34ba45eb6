"""The stage: DOCUMENTS parts and what came of them, to LEDGER parts."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ops.errors import InputError
from ops.extract.validity import check_latex
from ops.ledger.config import LedgerConfig
from ops.ledger.follow import Dropped, Stage
from ops.parts import Batch, Row, part_paths, read_rows, totals, unfinished, write_part
from ops.pool import each_part
from ops.schema import LEDGER
from ops.stage import Check, Execution, Inputs, StageResult, one

STAGES = {"cleaned": "clean", "scored": "score", "deduplicated": "deduplicate", "corpus": "decontaminate"}
"""Input -> the stage that made it, in the order in which documents pass them."""

INPUTS = ("documents", *STAGES)
FATES = ("kept", "changed", "lost", "document_dropped")


def run(config: LedgerConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write a row for every formula of `documents`: its carrier, whether it is valid LaTeX, and its fate.

    Fates: `kept` (stands unchanged in the corpus), `changed` (stands there in other words), `lost` (its paragraph was
    dropped, or it is gone from it), `document_dropped` (with the stage and its reason).

    Raises:
        InputError: when an input is absent or unreadable, or a document is neither kept nor dropped by a stage.
    """
    source = one(inputs, "documents")
    later = {name: one(inputs, name) for name in STAGES}
    names = [path.stem for path in part_paths(source)]
    work = partial(_make_part, source, later, out)
    each_part(unfinished(out, names), work, description="ledger", num_processes=execution.num_processes)
    sums = totals(out, names)
    return _report(config, sums.counts)


def _make_part(source: Path, later: Mapping[str, Path], out: Path, name: str) -> None:
    write_part(out, name, LEDGER, _batches(source, later, name), stage="ledger")


def _batches(source: Path, later: Mapping[str, Path], part: str) -> Iterator[Batch]:
    columns = {"cleaned": ["text", "formulas", "dropped_paragraphs"], "corpus": ["text"]}
    stages = [Stage(stage, later[name], part, columns.get(name, [])) for name, stage in STAGES.items()]
    for rows in read_rows(source / f"{part}.parquet", columns=["doc_id", "url", "formulas"]):
        batch = Batch()
        for row in rows:
            for entry in _entries(row, stages):
                batch.keep(entry)
                batch.counts[f"formulas_{entry['fate']}"] += 1
                for what in ("found", entry["fate"], "valid" if entry["invalid"] is None else "invalid"):
                    batch.counts[f"{what}:{entry['carrier']}"] += 1
                if entry["invalid"] is not None:
                    batch.counts[f"invalid_{entry['invalid']}"] += 1
        yield batch
    for stage in stages:
        stage.close()


def _entries(document: Row, stages: list[Stage]) -> Iterator[Row]:
    """The ledger's rows of one document."""
    cleaned: Row | None = None
    last: Row | Dropped | None = None
    for stage in stages:
        last = stage.take(document["doc_id"])
        if isinstance(last, Dropped):
            break
        cleaned = cleaned or last
    for index, formula in enumerate(document["formulas"]):
        entry: Row = {
            "doc_id": document["doc_id"],
            "url": document["url"],
            "index": index,
            "carrier": formula["carrier"],
            "display": formula["display"],
            "latex": formula["latex"],
            "invalid": check_latex(formula["latex"]),
            "stage": None,
            "reason": None,
            "latex_after": None,
        }
        if isinstance(last, Dropped):
            entry |= {"fate": "document_dropped", "stage": last.stage, "reason": last.reason}
        else:
            assert cleaned is not None
            assert last is not None
            entry |= _fate(index, formula, cleaned, last["text"])
        yield entry


def _fate(index: int, formula: Mapping[str, Any], cleaned: Row, text: str) -> dict[str, Any]:
    """What became of a formula in the text of a document that is in the corpus."""
    if text != cleaned["text"]:
        raise InputError(f"document {cleaned['doc_id']}: its text was changed behind cleaning")
    place = next((place for place in cleaned["formulas"] if place["index"] == index), None)
    if place is None:
        lost = [p["reason"] for p in cleaned["dropped_paragraphs"] if index in p["formulas"]]
        return {"fate": "lost", "stage": "clean", "reason": lost[0] if lost else "vanished"}
    mark = "$$" if formula["display"] else "$"
    now = text[place["start"] : place["end"]]
    if now == f"{mark}{formula['latex']}{mark}":
        return {"fate": "kept"}
    return {"fate": "changed", "stage": "clean", "latex_after": now}


def _report(config: LedgerConfig, counts: Mapping[str, int]) -> StageResult:
    fates = {fate: counts.get(f"formulas_{fate}", 0) for fate in FATES}
    found = counts["in"]
    by_carrier: dict[str, Counter[str]] = {}
    for name, count in counts.items():
        what, separator, carrier = name.partition(":")
        if separator:
            by_carrier.setdefault(carrier, Counter())[what] = count
    columns = ("found", "valid", *FATES)
    table = [
        {"carrier": carrier, **{name: row[name] for name in columns}} for carrier, row in sorted(by_carrier.items())
    ]
    invalid = {name.removeprefix("invalid_"): count for name, count in counts.items() if name.startswith("invalid_")}
    valid = found - sum(invalid.values())
    plain = {name: count for name, count in counts.items() if ":" not in name}
    return StageResult(
        counts=plain,
        checks=[
            Check(
                name="every_formula_accounted",
                passed=found == sum(fates.values()) == sum(row["found"] for row in table),
                description="formulas found = kept + changed + lost + in dropped documents",
                metadata={"found": found, **fates},
            ),
            Check(
                name="no_formula_changed",
                passed=fates["changed"] == 0,
                description="no stage rewrote a formula",
                metadata={"changed": fates["changed"]},
            ),
            Check(
                name="formulas_valid",
                passed=valid >= config.min_valid_share * found,
                description=f"at least {config.min_valid_share:.0%} of the formulas are LaTeX that can be typeset",
                metadata={"valid": valid, "found": found, **invalid},
                blocking=False,
            ),
        ],
        summary={"formulas_by_carrier": table, "invalid": dict(sorted(invalid.items()))},
    )
