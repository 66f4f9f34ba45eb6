"""The report as Markdown, and the same as one HTML page with its charts inside."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ops.report.collect import mean_accuracy
from ops.svg import scatter_chart

Section = tuple[str, str, Sequence[str], list[list[str]]]
"""Title, a sentence, column names, rows."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .8rem 0 2rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td.text { text-align: left; }
th { background: #f6f6f6; } h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; }
code { font-size: 13px; } .charts { display: flex; flex-wrap: wrap; gap: 1rem; } svg { max-width: 100%; height: auto; }
"""


def sections(
    report: Mapping[str, Any],
    speeds: Mapping[str, Any],
    costs: Sequence[Mapping[str, Any]],
    cleaning_speeds: Mapping[str, Mapping[str, float]],
) -> list[Section]:
    """The tables of the report."""
    found = [_family(report["family"], speeds), _tasks(report["family"])]
    if report["searches"]:
        found.append(_searches(report["searches"]))
    found.append(_flow(report["flow"]))
    if report["cleaning"]:
        found.append(cleaning(report["cleaning"], cleaning_speeds))
    if report["formulas"]:
        found.append(_formulas(report["formulas"]))
    if report["caught"]:
        found.append(_caught(report["caught"]))
    return [*found, _sources(report["family"]), _costs(costs), _lineage(report["lineage"])]


def markdown(title: str, tables: Sequence[Section]) -> str:
    """All tables as Markdown."""
    lines = [f"# {title}", ""]
    for name, sentence, columns, rows in tables:
        lines += [f"## {name}", "", sentence, ""]
        lines.append("| " + " | ".join(columns) + " |")
        lines.append("|---|" + "---:|" * (len(columns) - 1))
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def html(title: str, tables: Sequence[Section], charts: Sequence[str]) -> str:
    """One page, nothing loaded from elsewhere."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
    ]
    for index, (name, sentence, columns, rows) in enumerate(tables):
        parts.append(f"<h2>{escape(name)}</h2><p>{escape(sentence)}</p><table><tr>")
        parts += [f"<th>{escape(column)}</th>" for column in columns]
        parts.append("</tr>")
        for row in rows:
            cells = (f"<td{_text_class(cell)}>{escape(cell)}</td>" for cell in row)
            parts.append(f"<tr>{''.join(cells)}</tr>")
        parts.append("</table>")
        if index == 0:
            parts.append(f'<div class="charts">{"".join(charts)}</div>')
    return "".join(parts)


def charts(family: Sequence[Mapping[str, Any]], speeds: Mapping[str, Any]) -> list[str]:
    """Quality against size, against memory and against speed."""
    rated = [row for row in family if row["bits_per_byte"] is not None]
    by_size = {row["model"]: (float(row["parameters"]), float(row["bits_per_byte"])) for row in rated}
    by_memory = {row["model"]: (float(memory(row)), float(row["bits_per_byte"])) for row in rated}
    by_speed = {
        row["model"]: (float(speeds[row["model"]]["decode_tokens_per_second"]), float(row["bits_per_byte"]))
        for row in rated
    }
    y_label = "bits per byte (lower is better)"
    return [
        scatter_chart(by_size, title="Quality against size", x_label="parameters", y_label=y_label),
        scatter_chart(by_memory, title="Quality against memory", x_label="bytes at 4k tokens", y_label=y_label),
        scatter_chart(by_speed, title="Quality against speed", x_label="decoded tokens/s", y_label=y_label),
    ]


def memory(row: Mapping[str, Any]) -> int:
    """Bytes that decoding needs: the weights as they are stored, and the cache of 4,096 tokens."""
    return row["checkpoint_bytes"] + row["cache_bytes_4096"]


def _family(family: Sequence[Mapping[str, Any]], speeds: Mapping[str, Any]) -> Section:
    columns = "model|parameters|of teacher|bits/byte|accuracy|guess|prefill tok/s|decode tok/s|peak memory|cache 4k"
    columns += "|weights + cache"
    rows = []
    for row in family:
        speed = speeds[row["model"]]
        accuracy = mean_accuracy(row["tasks"])
        rows.append(
            [
                row["model"],
                f"{row['parameters']:,}",
                f"{row['parameters'] / family[0]['parameters']:.0%}",
                _number(row["bits_per_byte"], 4),
                _number(accuracy and accuracy[0], 3),
                _number(accuracy and accuracy[1], 3),
                f"{speed['prefill_tokens_per_second']:,.0f}",
                f"{speed['decode_tokens_per_second']:,.0f}",
                size(speed["peak_memory_bytes"]),
                size(row["cache_bytes_4096"]),
                size(memory(row)),
            ]
        )
    first = speeds[family[0]["model"]]
    how = (
        f"Speed at batch 1 in {first['dtype']} on {first['device']}, {first['threads']} threads; accuracy is the mean "
    )
    how += "over the multiple-choice tasks, by likelihood per byte."
    return "The family", how, columns.split("|"), rows


def _tasks(family: Sequence[Mapping[str, Any]]) -> Section:
    rows = []
    for name, task in sorted(family[0]["tasks"].items()):
        choice = "accuracy_per_byte" in task
        key = "accuracy_per_byte" if choice else "bits_per_byte"
        cells = [_number(row["tasks"][name].get(key), 3) for row in family]
        guess = _number(task["random_accuracy"], 3) if choice else ""
        rows.append([name, "accuracy" if choice else "bits/byte", f"{task['documents']:,}", guess, *cells])
    columns = ["task", "measure", "items", "guess", *(row["model"] for row in family)]
    return "Tasks", "Multiple choice by likelihood per byte, gold answers in bits per byte.", columns, rows


def _searches(searches: Sequence[Mapping[str, Any]]) -> Section:
    rows = [
        [
            row["search"],
            f"{row['label']} (chosen)" if row["chosen"] else row["label"],
            f"{row['parameters']:,}",
            size(row["memory_bytes"]),
            _number(row["loss_as_cut"], 4),
            _number(row["loss_distilled"], 4),
        ]
        for row in searches
    ]
    columns = ["search", "candidate", "parameters", "memory", "loss as cut", "after short distillation"]
    sentence = "Candidates that meet the budget, in nats a token of held-out text; memory as the budget counts it."
    return "Searches", sentence, columns, rows


def _flow(flow: Sequence[Mapping[str, Any]]) -> Section:
    rows = [
        [
            row["stage"],
            f"{row['in']:,}",
            f"{row['out']:,}",
            f"{sum(row['dropped'].values()):,}",
            f"{row['unaccounted']:,}",
            ", ".join(f"{reason} {count:,}" for reason, count in row["dropped"].items()) or "-",
        ]
        for row in flow
    ]
    columns = ["stage", "documents in", "out", "dropped", "unaccounted", "reasons"]
    return "What went where", "Every document that does not go on has a reason; in = out + dropped.", columns, rows


def cleaning(rows: Sequence[Mapping[str, Any]], speeds: Mapping[str, Mapping[str, float]]) -> Section:
    """The table of language models that cleaned."""
    cells = []
    for row in rows:
        speed, rejected = speeds[row["cleaner"]], sum(row["rejected"].values())
        reasons = sorted(row["rejected"].items(), key=lambda item: (-item[1], item[0]))
        seconds = speed["seconds"]
        cells.append(
            [
                row["cleaner"],
                f"{row['chunks']:,}",
                f"{row['accepted']:,}",
                f"{rejected / row['chunks']:.1%}" if row["chunks"] else "",
                ", ".join(f"{reason} {count:,}" for reason, count in reasons) or "-",
                f"{row['tokens_in']:,}",
                f"{row['tokens_out']:,}",
                *(f"{speed[name] / seconds:,.1f}" if seconds else "" for name in ("tokens_in", "tokens_out")),
            ]
        )
    columns = ["model", "chunks", "accepted", "rejected", "reasons", "tokens in", "tokens out", "in/s", "out/s"]
    sentence = (
        "Chunks put to a language model = answers taken + answers that broke the contract, for which the text of "
    )
    sentence += "the rules stands. Speed is over the calls that were made, without those answered before."
    return "Cleaning by a model", sentence, columns, cells


def _formulas(formulas: Sequence[Mapping[str, Any]]) -> Section:
    columns = ("found", "valid", "kept", "changed", "lost", "document_dropped")
    total = {"carrier": "all", **{column: sum(row[column] for row in formulas) for column in columns}}
    rows = [[str(row["carrier"]), *(f"{row[column]:,}" for column in columns)] for row in [*formulas, total]]
    sentence = "Each formula by the carrier it was found in: found = kept + changed + lost + in dropped documents."
    return "Formulas", sentence, ["carrier", *(column.replace("_", " ") for column in columns)], rows


def _caught(caught: Sequence[Mapping[str, Any]]) -> Section:
    rows = [
        [
            row["kind"],
            f"{row['planted']:,}",
            ", ".join(f"{outcome} {count:,}" for outcome, count in row["outcomes"].items()),
        ]
        for row in caught
    ]
    sentence = (
        "What the sample crawl holds on purpose, and what became of it. Of a pair of duplicates one is kept, which "
    )
    sentence += "may be the planted one; a bad charset is decoded, with what cannot be decoded counted."
    return "Planted and caught", sentence, ["kind", "planted", "outcomes"], rows


def _sources(family: Sequence[Mapping[str, Any]]) -> Section:
    rows = [
        [name, f"{first['tokens']:,}", *(_number(model["sources"][name]["bits_per_byte"], 4) for model in family)]
        for name, first in sorted(family[0]["sources"].items())
    ]
    columns = ["source", "tokens", *(model["model"] for model in family)]
    return "Held-out text by source", "Bits per byte.", columns, rows


def _costs(costs: Sequence[Mapping[str, Any]]) -> Section:
    rows = [
        [
            row["asset"],
            f"{row['artefacts']:,}",
            f"{row['wall_s']:,.1f}",
            f"{row['cpu_s']:,.1f}",
            size(row["peak_rss_bytes"]),
            f"{row['tokens']:,}" if row["tokens"] else "",
            f"{row['flops']:.2e}" if row["flops"] else "",
            size(row["bytes"]),
        ]
        for row in costs
    ]
    columns = ["asset", "artefacts", "wall s", "CPU s", "peak memory", "tokens", "FLOPs", "size"]
    return "Costs", "What it took to make each asset, whenever that was.", columns, rows


def _lineage(lineage: Sequence[Mapping[str, Any]]) -> Section:
    by_asset: dict[str, list[Mapping[str, Any]]] = {}
    for row in lineage:
        by_asset.setdefault(row["asset"], []).append(row)
    rows = []
    for asset, group in by_asset.items():
        parents = sorted({path.partition("/")[0] for row in group for path in row["parents"]})
        versions = sorted({row["version"] for row in group})
        shown = versions[0] if len(versions) == 1 else f"{len(versions)} versions"
        rows.append([asset, shown, f"{len(group):,}", ", ".join(parents) or "-"])
    sentence = "`python -m ops.store lineage family_report` walks from here to the crawl files."
    return "Lineage", sentence, ["asset", "version", "artefacts", "parents"], rows


def size(num_bytes: float) -> str:
    """Bytes with a metric prefix."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _text_class(cell: str) -> str:
    return ' class="text"' if len(cell) > 24 else ""
