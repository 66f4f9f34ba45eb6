"""One table of every comparison, with seeds and cost; a page with the curves."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ops.atomic import read_json, write_bytes, write_json
from ops.evidence.claim.run import FINDINGS
from ops.evidence.config import TableConfig
from ops.evidence.stats import Comparison, holm, outcome
from ops.stage import Check, Execution, Inputs, StageResult, many
from ops.svg import line_chart

COLUMNS = ("outcome", "claim", "difference", "interval", "p", "adjusted p", "replicates", "unit")


def run(config: TableConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `evidence.json`, `evidence.md` and `evidence.html` from the findings of input `claims`."""
    claims = [read_json(path / FINDINGS) for path in many(inputs, "claims")]
    rows = table(claims, config.confidence)
    tokens, flops = sum(claim["tokens"] for claim in claims), sum(claim["flops"] for claim in claims)
    counts = {name: sum(row["outcome"] == name for row in rows) for name in ("supported", "contradicted", "unresolved")}
    seeds = sorted({seed for claim in claims for seed in claim["teacher_seeds"]})
    held_out = sorted({claim["held_out_tokens"] for claim in claims})
    note = (
        f"{len(rows)} comparisons: {', '.join(f'{count} {name}' for name, count in counts.items())}. Teachers of seeds "
        f"{seeds}; losses on {', '.join(f'{n:,}' for n in held_out)} held-out tokens; {tokens:,} tokens trained or "
        f"evaluated, {flops:.2e} FLOPs, without the teachers. Intervals hold {config.confidence:.0%} each, outcomes "
        f"{config.confidence:.0%} for all together (Holm). A difference above 0 speaks for the claim."
    )
    write_json(out / "evidence.json", {"rows": rows, "note": note})
    write_bytes(out / "evidence.md", f"{markdown(rows)}\n\n{note}\n".encode())
    write_bytes(out / "evidence.html", page(rows, claims, note).encode())
    return StageResult(
        counts={"comparisons": len(rows), **counts},
        checks=(
            Check(
                name="not_contradicted",
                passed=not counts["contradicted"],
                description="no comparison goes against its claim",
                metadata={"contradicted": [row["claim"] for row in rows if row["outcome"] == "contradicted"]},
                blocking=False,
            ),
        ),
        summary={"evidence": rows, "note": note},
    )


def table(claims: Sequence[Mapping[str, Any]], confidence: float) -> list[dict[str, Any]]:
    """A row for each comparison, in the order of the claims."""
    found = [(claim, row) for claim in claims for row in claim["comparisons"]]
    adjusted = holm([row["p_value"] for _, row in found])
    rows = []
    for (claim, row), p in zip(found, adjusted, strict=True):
        comparison = Comparison(
            **{key: row[key] for key in ("name", "better", "worse", "unit", "powered", "notes")},
            differences=tuple(row["differences"]),
        )
        low, high = row["interval"]
        rows.append(
            {
                "outcome": outcome(comparison, p, confidence),
                "claim": f"{claim['claim']}: {row['name']}" + ("" if row["powered"] else " (no power)"),
                "difference": f"{row['mean']:+.4f}",
                "interval": f"{low:+.4f} to {high:+.4f}",
                "p": f"{row['p_value']:.2g}",
                "adjusted p": f"{p:.2g}",
                "replicates": len(row["differences"]),
                "unit": row["unit"],
            }
        )
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    return "\n".join([*lines, *(f"| {' | '.join(str(row[column]) for column in COLUMNS)} |" for row in rows)])


def page(rows: Sequence[Mapping[str, Any]], claims: Sequence[Mapping[str, Any]], note: str) -> str:
    """The rows as a page, and the curves of the claims that have some."""
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    body = "".join(
        f'<tr class="{row["outcome"]}">' + "".join(f"<td>{escape(str(row[c]))}</td>" for c in COLUMNS) + "</tr>"
        for row in rows
    )
    charts = "".join(
        line_chart(claim["curves"], title=claim["title"], x_label="tokens", y_label="held-out loss, nats a token")
        for claim in claims
        if claim["curves"]
    )
    return (
        '<!doctype html><meta charset="utf-8"><title>Evidence</title><style>body{font:14px sans-serif;max-width:76em;'
        "margin:2em auto}td,th{padding:.2em .6em;text-align:left;border-bottom:1px solid #ddd}.supported td:first-child"
        "{color:#0f7b6c}.contradicted td:first-child{color:#b0325b}svg{max-width:100%}</style>"
        f"<h1>Evidence</h1><p>{escape(note)}</p><table><tr>{head}</tr>{body}</table>{charts}"
    )
