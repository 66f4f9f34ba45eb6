"""What a person sees of an artefact in the UI: numbers, tables, samples, a loss curve."""

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from ops.stage import sum_rows
from ops.store import Record, Store
from ops.svg import line_chart

MAX_MARKDOWN = 40_000
"""Metadata sits in the event log of every run; keep it small."""

SPEED = "speed.json"
"""What stages that measure themselves leave: a model that is evaluated, or one that cleans."""


def metadata_of(record: Record, store: Store, *, reused: bool) -> dict[str, Any]:
    """Dagster metadata of one artefact."""
    shown: dict[str, Any] = {
        "status": record.status,
        "reused": reused,
        "path": dg.MetadataValue.path(f"{store.url.rstrip('/')}/{record.id.path}"),
        "version": record.version,
        "digest": record.digest,
        "size_bytes": record.num_bytes,
        "wall_s": record.cost.wall_s,
        "cpu_s": record.cost.cpu_s,
        "peak_rss_bytes": record.cost.peak_rss_bytes,
    }
    if record.cost.tokens:
        shown["tokens"] = record.cost.tokens
    if record.cost.flops:
        shown["flops"] = record.cost.flops
    shown |= {f"count/{name}": value for name, value in record.counts.items()}
    if "out" in record.counts:
        shown["dagster/row_count"] = record.counts["out"]
    if record.dropped:
        shown["dropped"] = dg.MetadataValue.md(drop_table(record.dropped, record.counts.get("in", 0)))
    curve = record.summary.get("curve")
    if isinstance(curve, Mapping):
        shown["loss_curve"] = dg.MetadataValue.md(curve_image(curve))
    if isinstance(card := record.summary.get("card"), str):
        shown["card"] = dg.MetadataValue.md(card)
    if SPEED in record.files:
        shown["speed"] = _summary_value(json.loads(store.read_file(record, SPEED)))
    for name, value in record.summary.items():
        if name not in ("curve", "card"):
            shown[f"summary/{name}"] = _summary_value(value)
    return shown


def combined(records: Sequence[Record], store: Store, *, reused: int) -> dict[str, Any]:
    """Metadata of a range of partitions as one: sums."""
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for record in records:
        counts.update(record.counts)
        dropped.update(record.dropped)
    shown: dict[str, Any] = {"range/partitions": len(records), "range/reused": reused}
    shown |= {f"range/{name}": value for name, value in counts.items()}
    if dropped:
        shown["range/dropped"] = dg.MetadataValue.md(drop_table(dropped, counts.get("in", 0)))
    for name in {name: None for record in records for name in record.summary}:
        tables = [record.summary[name] for record in records if record.summary.get(name)]
        label = _label(tables)
        if label is not None:
            shown[f"range/{name}"] = dg.MetadataValue.md(markdown_table(sum_rows(tables, label)))
    return shown


def _label(tables: Sequence[Any]) -> str | None:
    """The only column that is no count, when these are tables of counts, which add up over partitions."""
    if not tables or not all(_is_table(table) for table in tables):
        return None
    columns = {column for table in tables for row in table for column, cell in row.items() if type(cell) is not int}
    return columns.pop() if len(columns) == 1 else None


def drop_table(dropped: Mapping[str, int], total: int) -> str:
    """Reasons and counts as a Markdown table, the most frequent first."""
    rows = [
        f"| {reason} | {count:,} | {count / total:.2%} |" if total else f"| {reason} | {count:,} | |"
        for reason, count in sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    ]
    return "\n".join(["| reason | dropped | share |", "|---|---:|---:|", *rows])


def curve_image(curve: Mapping[str, Any]) -> str:
    """A loss curve as an inline image (Dagster strips raw SVG, a data URI renders)."""
    points = list(zip(curve["tokens"], curve["loss"], strict=True))
    svg = line_chart({"training": points}, title="training loss", x_label="tokens", y_label="nats per token")
    return _image(svg, "loss curve")


def _image(svg: str, name: str) -> str:
    return f"![{name}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _summary_value(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("<svg"):
        return dg.MetadataValue.md(_image(value, "chart"))
    if isinstance(value, bool | int | float | str):
        return dg.MetadataValue.md(_fence(value)) if isinstance(value, str) and "\n" in value else value
    if _is_table(value):
        return dg.MetadataValue.md(markdown_table(value))
    return dg.MetadataValue.md(_fence(json.dumps(value, indent=1, ensure_ascii=False)))


def _is_table(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(row, Mapping) and row.keys() == value[0].keys() for row in value)
    )


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table."""

    def cell(value: Any) -> str:
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        return text.replace("|", "\\|").replace("\n", " ")[:300]

    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)[:MAX_MARKDOWN]


def _fence(text: str) -> str:
    return f"````\n{text[:MAX_MARKDOWN]}\n````"
