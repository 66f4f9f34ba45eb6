"""Activation importance against random and inverse orders, axis by axis, without any training behind the cut (Minitron,
arXiv 2407.14679, section 2; Minitron-SSM, arXiv 2504.11409, for the Mamba axes)."""

from typing import Any

import torch

from model.slicing import WidthScores, gather_model, prefix_maps, sort_maps
from ops.evidence.claims import Findings
from ops.evidence.claims.common import cut_axis, drawn, negated, only, teacher_loss
from ops.evidence.lab import Lab, mean
from ops.evidence.stats import Comparison

TITLE = "What activations call important is worth more than a random choice, and that more than the inverse"
AXES = ("d_model", "intermediate_size", "num_attention_heads", "mamba_num_heads", "mamba_head_dim")


def run(lab: Lab) -> Findings:
    comparisons, rows = [], []
    for axis in AXES:
        found = [measured(lab, axis, seed) for seed in lab.config.teachers.seeds]
        rows += [{"axis": axis, **row} for row in found]
        harm = mean([row["random"] - row["teacher"] for row in found])
        powered = harm > lab.config.power
        notes = {"harm_of_random": harm, "draws_as_good": mean([row["draws_as_good"] for row in found])}
        pairs = [("activation", "random"), ("random", "inverse")]
        if axis == "mamba_num_heads":
            pairs.append(("activation", "x_score"))
        for better, worse in pairs:
            comparisons.append(
                Comparison(
                    name=f"{axis}: {better} beats {worse}",
                    better=better,
                    worse=worse,
                    differences=tuple(row[worse] - row[better] for row in found),
                    powered=powered,
                    notes=notes,
                )
            )
    return Findings(comparisons=comparisons, arms=rows)


def measured(lab: Lab, axis: str, seed: int) -> dict[str, Any]:
    """Held-out losses of one teacher cut on one axis by every order."""
    config = lab.config.model
    target = cut_axis(config, axis, lab.config.keep)
    importance = lab.importance(seed)

    def loss(scores: WidthScores) -> float:
        maps = sort_maps(config, scores).then(prefix_maps(config, target))
        return lab.loss(gather_model(lab.teacher(seed), maps))

    def measure() -> dict[str, Any]:
        scores = only(importance.width_scores(config), axis)
        draws = []
        for draw in range(lab.config.random_draws):
            generator = torch.Generator().manual_seed(1_000 * seed + draw)
            draws.append(loss(drawn(scores, generator)))
        row = {"activation": loss(scores), "inverse": loss(negated(scores)), "draws": draws}
        if axis == "mamba_num_heads":
            row["x_score"] = loss(only(importance.width_scores(config, mamba_head_score="x_score"), axis))
        return row

    row = lab.kept(f"{axis}-{seed}", measure)
    as_good = sum(value <= row["activation"] for value in row["draws"]) / len(row["draws"])
    random = mean(row["draws"])
    return {"seed": seed, "teacher": teacher_loss(lab, seed), **row, "random": random, "draws_as_good": as_good}
