"""Which layers go: by iterative or one-shot logit error, or at random (Nemotron Nano 2, arXiv 2508.14444, section 4.2).

Zero-shot, as the losses after distillation lie too close for short runs."""

import random
from typing import Any

from model.slicing import layer_view
from ops.evidence.claims import Findings
from ops.evidence.claims.common import teacher_loss
from ops.evidence.lab import Lab, mean
from ops.evidence.stats import Comparison

TITLE = "Layers removed one by one, each after a new look, cost less than those removed at once, and these than random"
CUT = 0.25
"""Share of the layers that go."""


def run(lab: Lab) -> Findings:
    found = [measured(lab, seed) for seed in lab.config.teachers.seeds]
    harm = mean([row["random"] - row["teacher"] for row in found])
    notes = {"harm_of_random": harm, "draws_as_good": mean([row["draws_as_good"] for row in found])}
    comparisons = [
        Comparison(
            name=f"{better} beats {worse}",
            better=better,
            worse=worse,
            differences=tuple(row[worse] - row[better] for row in found),
            powered=harm > lab.config.power,
            notes=notes,
        )
        for better, worse in (("iterative", "one_shot"), ("one_shot", "random"), ("iterative", "random"))
    ]
    return Findings(comparisons=comparisons, arms=found)


def measured(lab: Lab, seed: int) -> dict[str, Any]:
    """Held-out losses of one teacher without a quarter of its layers, chosen in every way."""
    layers = range(lab.config.model.num_layers)
    removed = max(1, round(CUT * len(layers)))

    def loss(gone: list[int]) -> float:
        return lab.loss(layer_view(lab.teacher(seed), [index for index in layers if index not in gone]))

    def measure() -> dict[str, Any]:
        importance, rng = lab.importance(seed), random.Random(seed)
        draws = [loss(rng.sample(layers, removed)) for _ in range(lab.config.random_draws)]
        return {
            "iterative": loss(importance.removal_order("iterative_mse")[:removed]),
            "one_shot": loss(importance.removal_order("logit_mse")[:removed]),
            "block_influence": loss(importance.removal_order("block_influence")[:removed]),
            "draws": draws,
        }

    row = lab.kept(f"depth-{seed}", measure)
    as_good = sum(value <= row["iterative"] for value in row["draws"]) / len(row["draws"])
    return {
        "seed": seed,
        "teacher": teacher_loss(lab, seed),
        **row,
        "random": mean(row["draws"]),
        "draws_as_good": as_good,
    }
