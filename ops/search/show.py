"""The table of a search and its picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.config import HybridConfig
from ops.search.space import Candidate
from ops.svg import scatter_chart

SHOWN = 20
"""Candidates in the table for people; `search.json` has all."""


def rows(
    candidates: Sequence[Candidate],
    as_cut: Mapping[str, float],
    rounds: Sequence[Mapping[str, Any]],
    teacher: HybridConfig,
) -> list[dict[str, Any]]:
    """A row for each scored candidate, the best as cut first."""
    distilled: dict[str, float] = {}
    for each in rounds:
        distilled |= each["loss"]
    table = [
        {
            "label": candidate.label,
            "pattern": candidate.target.pattern,
            "layers": list(candidate.layers),
            **{name: int(value) for name, value in candidate.costs.items()},
            "of_teacher": candidate.costs["parameters"] / teacher.num_params(),
            "loss_as_cut": as_cut[candidate.label],
            "loss_distilled": distilled.get(candidate.label),
        }
        for candidate in candidates
    ]
    return sorted(table, key=lambda row: (row["loss_as_cut"], row["label"]))


def others(table: Sequence[Mapping[str, Any]], finalists: Sequence[str]) -> list[dict[str, Any]]:
    """The first rows of candidates that were not distilled."""
    return [dict(row) for row in table if row["label"] not in finalists][: SHOWN - len(finalists)]


def finalists(rounds: Sequence[Mapping[str, Any]], speeds: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each candidate and round."""
    return [
        {
            "round": number,
            "label": label,
            "tokens": each["tokens"],
            "loss": each["loss"][label],
            "tau_to_round_before": each["tau"],
            "decode_tokens_per_second": round(speeds[label]["decode_tokens_per_second"]),
        }
        for number, each in enumerate(rounds, start=1)
        for label in each["order"]
    ]


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of the points that no other beats in both coordinates (lower is better), from left to right."""
    best: list[str] = []
    for name in sorted(points, key=lambda name: (points[name], name)):
        if not best or points[name][1] < points[best[-1]][1]:
            best.append(name)
    return best


def pareto(table: Sequence[Mapping[str, Any]], chosen: str, limits: Mapping[str, float]) -> str:
    """Loss as cut against the first limit that a configuration decides: the front and the chosen one have their names,
    the others are dots."""
    axis = next((name for name in limits if name != "decode_ms"), "parameters")
    points = {row["label"]: (float(row[axis]), float(row["loss_as_cut"])) for row in table}
    named = dict.fromkeys([*front(points), chosen])
    return scatter_chart(
        {(f"{name} (chosen)" if name == chosen else name): points[name] for name in named},
        title=f"Candidates, loss as cut; {chosen} chosen after short distillation",
        x_label=axis.replace("_", " "),
        y_label="nats per token",
        cloud=[point for name, point in points.items() if name not in named],
    )
