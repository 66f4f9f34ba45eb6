"""What the report says, collected from the records and files of the artefacts it is given."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ops.atomic import read_json
from ops.clean.calls import SPEED
from ops.errors import InputError
from ops.parts import read_rows
from ops.report.config import ReportConfig
from ops.stage import Inputs, many, one, sum_rows
from ops.store.record import BESIDE, RECORD_NAME, Record

DATA_STAGES = ("pages", "documents", "cleaned", "scored", "deduplicated", "corpus", "tokens")
"""Assets with documents, in the order in which documents pass them."""

_NO_CALLS = {"chunks": 0, "accepted": 0, "tokens_in": 0, "tokens_out": 0}
_MEASURED = ("calls", "cached", "seconds", "tokens_in", "tokens_out")


def records_of(inputs: Inputs) -> dict[str, list[Record]]:
    """The record of every artefact the report is given, by input.

    Raises:
        InputError: when a directory has no record: the report is about artefacts of a store.
    """
    found: dict[str, list[Record]] = {}
    for name in sorted(inputs):
        for path in many(inputs, name):
            record = path / RECORD_NAME
            if not record.exists():
                raise InputError(f"{path}: has no {RECORD_NAME}; the report needs artefacts of a store")
            found.setdefault(name, []).append(Record.from_json(record.read_bytes(), str(record)))
    return found


def family(config: ReportConfig, inputs: Inputs, records: Mapping[str, list[Record]]) -> list[dict[str, Any]]:
    """A row for each model: scores, and what it took to make it. Nothing measured in seconds."""
    rows = []
    for name in config.checkpoints:
        scores = read_json(one(inputs, f"evaluation_{name}") / "scores.json")
        record = records[name][0]
        rows.append(
            {
                "model": name,
                "version": record.version,
                "digest": record.digest,
                "parents": sorted({parent.asset for parent in record.parents}),
                "tokens": record.cost.tokens,
                "flops": record.cost.flops,
                **scores["model"],
                "loss": scores["validation"]["loss"],
                "bits_per_byte": scores["validation"]["bits_per_byte"],
                "tasks": scores["tasks"],
                "sources": scores["validation"]["sources"],
            }
        )
    return rows


def speeds(config: ReportConfig, inputs: Inputs) -> dict[str, Any]:
    """What was measured of each model."""
    return {name: read_json(one(inputs, f"evaluation_{name}") / "speed.json") for name in config.checkpoints}


def searches(inputs: Inputs) -> list[dict[str, Any]]:
    """A row for each candidate that a search scored."""
    rows = []
    for name in sorted(inputs):
        if name.startswith("search_"):
            found = read_json(one(inputs, name) / "search.json")
            rows += [{"search": name, "chosen": row["label"] == found["chosen"], **row} for row in found["candidates"]]
    return rows


def flow(records: Mapping[str, list[Record]]) -> list[dict[str, Any]]:
    """Documents in and out of each data stage, and why the others went, over all partitions."""
    rows = []
    for name in DATA_STAGES:
        counts: Counter[str] = Counter()
        dropped: Counter[str] = Counter()
        for record in records.get(name, []):
            counts.update({key: record.counts[key] for key in ("in", "out")})
            dropped.update(record.dropped)
        if records.get(name):
            lost = counts["in"] - counts["out"] - sum(dropped.values())
            rows.append(
                {
                    "stage": name,
                    "in": counts["in"],
                    "out": counts["out"],
                    "dropped": dict(sorted(dropped.items())),
                    "unaccounted": lost,
                }
            )
    return rows


def caught(inputs: Inputs, records: Mapping[str, list[Record]]) -> list[dict[str, Any]]:
    """What became of everything that was planted in the sample crawl: kind, how many, outcomes."""
    if "sample_crawl" not in inputs:
        return []
    expected = read_json(one(inputs, "sample_crawl") / "expected.json")
    fate: dict[tuple[str, str], str] = {}
    for name in DATA_STAGES:
        for path, record in zip(inputs.get(name, ()), records.get(name, []), strict=True):
            crawl = (record.partition or "").partition("|")[0]
            for url, reason in _dropped(Path(path)):
                fate[crawl, url] = f"{name}: {reason}"
    kept = {
        ((record.partition or "").partition("|")[0], row["url"])
        for path, record in zip(inputs.get("corpus", ()), records.get("corpus", []), strict=True)
        for part in sorted(Path(path).glob("part-*.parquet"))
        for rows in read_rows(part, columns=["url"])
        for row in rows
    }
    table = []
    for kind, entries in sorted(expected.items()):
        outcomes: Counter[str] = Counter()
        for entry in entries:
            key = (entry["crawl"], entry["url"])
            outcomes["kept" if key in kept else fate.get(key, "no document")] += 1
        table.append({"kind": kind, "planted": len(entries), "outcomes": dict(sorted(outcomes.items()))})
    return table


def _dropped(directory: Path) -> list[tuple[str, str]]:
    return [
        (row["url"], row["reason"])
        for part in sorted((directory / "dropped").glob("part-*.parquet"))
        for rows in read_rows(part, columns=["url", "reason"])
        for row in rows
    ]


def formulas(records: Mapping[str, list[Record]]) -> list[dict[str, Any]]:
    """A row for each carrier of mathematics, over all partitions of the formula ledger."""
    ledger = records.get("formula_ledger", [])
    return sum_rows([record.summary["formulas_by_carrier"] for record in ledger], "carrier")


def cleaning(records: Mapping[str, list[Record]]) -> list[dict[str, Any]]:
    """A row for each language model that cleaned, over all partitions: what it was asked and what became of it."""
    rows: dict[str, dict[str, Any]] = {}
    for record in records.get("cleaned", []):
        llm = record.summary.get("llm")
        if llm is None:
            continue
        row = rows.setdefault(llm["cleaner"], {"cleaner": llm["cleaner"], "rejected": Counter(), **_NO_CALLS})
        row["rejected"].update(llm["rejected"])
        for name in _NO_CALLS:
            row[name] += llm[name]
    return [{**row, "rejected": dict(sorted(row["rejected"].items()))} for row in rows.values()]


def cleaning_speeds(inputs: Inputs, records: Mapping[str, list[Record]]) -> dict[str, dict[str, float]]:
    """Calls, seconds and tokens of each model that cleaned, over all partitions; answers from a cache are left out."""
    speeds: dict[str, dict[str, float]] = {}
    for path, record in zip(inputs.get("cleaned", ()), records.get("cleaned", []), strict=True):
        llm = record.summary.get("llm")
        if llm is not None:
            total = speeds.setdefault(llm["cleaner"], dict.fromkeys(_MEASURED, 0.0))
            found = read_json(Path(path) / SPEED)
            for name in _MEASURED:
                total[name] += found.get(name, 0)
    return speeds


def lineage(records: Mapping[str, list[Record]]) -> list[dict[str, Any]]:
    """Every artefact that the family came from: asset, partition, version, digest, parents."""
    return [
        {
            "asset": record.asset,
            "partition": record.partition,
            "version": record.version,
            "digest": record.digest,
            "parents": sorted({parent.id.path for parent in record.parents}),
        }
        for group in records.values()
        for record in group
    ]


def missing_parents(records: Mapping[str, list[Record]]) -> list[str]:
    """Parents named by a record that are not among the artefacts of the report.

    A parent may be there under another version: made again to the same bytes, it leaves what came of it as it was.
    What a search made by itself is not asked for.
    """
    there = {(record.asset, record.partition, record.digest) for group in records.values() for record in group}
    parents = [
        parent for group in records.values() for record in group for parent in record.parents if parent.input != BESIDE
    ]
    return sorted({p.id.path for p in parents if (p.asset, p.partition, p.digest) not in there})


def costs(records: Mapping[str, list[Record]]) -> list[dict[str, Any]]:
    """What each asset cost, over its partitions."""
    return [
        {
            "asset": name,
            "artefacts": len(group),
            "wall_s": round(sum(record.cost.wall_s for record in group), 1),
            "cpu_s": round(sum(record.cost.cpu_s for record in group), 1),
            "peak_rss_bytes": max(record.cost.peak_rss_bytes for record in group),
            "tokens": sum(record.cost.tokens for record in group),
            "flops": sum(record.cost.flops for record in group),
            "bytes": sum(record.num_bytes for record in group),
        }
        for name, group in records.items()
    ]


def mean_accuracy(tasks: Mapping[str, Mapping[str, Any]]) -> tuple[float, float] | None:
    """Mean accuracy by likelihood per byte over the multiple-choice tasks, and that of guessing; None without any."""
    scored: Sequence[Mapping[str, Any]] = [task for task in tasks.values() if "accuracy_per_byte" in task]
    if not scored:
        return None
    return (
        sum(task["accuracy_per_byte"] for task in scored) / len(scored),
        sum(task["random_accuracy"] for task in scored) / len(scored),
    )
