"""How many tokens training from scratch needs to be where a distilled student is. Minitron (arXiv 2407.14679) needs up
to 40 times fewer for each further model of a family."""

import math

from ops.evidence.claims import Findings
from ops.evidence.claims.common import FORWARD_KL, curves_of, pruned, rows_of, scratch
from ops.evidence.lab import Curve, Lab, mean
from ops.evidence.stats import Comparison

TITLE = "A pruned and distilled student needs fewer tokens than a network trained from scratch"


def run(lab: Lab) -> Findings:
    config = lab.config
    per_step = config.teachers.batch_size * config.teachers.seq_len
    quarter = config.steps // 4
    marks = tuple(range(quarter, config.scratch_factor * config.steps + 1, quarter))
    replicates = range(config.replicates)
    arms = {
        "pruned + KD": [
            lab.train("pruned-kd", r, lambda r=r: pruned(lab, r), lr=config.student_lr, loss=FORWARD_KL)
            for r in replicates
        ],
        "scratch + labels": [
            lab.train("scratch-long", r, lambda r=r: scratch(lab, r), lr=config.scratch_lr, marks=marks)
            for r in replicates
        ],
    }
    reached = [
        steps_to(long, short.last) for short, long in zip(arms["pruned + KD"], arms["scratch + labels"], strict=True)
    ]
    ratios = [(max(marks) if steps is None else steps) / config.steps for steps in reached]
    with_teacher = [
        ratio * config.steps * per_step / (config.steps * per_step + config.teachers.tokens) for ratio in ratios
    ]
    comparison = Comparison(
        name="distillation saves tokens",
        better="pruned + KD",
        worse="scratch + labels",
        differences=tuple(math.log2(ratio) for ratio in ratios),
        unit="doublings of tokens",
        notes={
            "mean_ratio": mean(ratios),
            "mean_ratio_with_the_teachers_tokens": mean(with_teacher),
            "never_reached": sum(steps is None for steps in reached),
            "longest_run_ratio": max(marks) / config.steps,
        },
    )
    return Findings(comparisons=[comparison], arms=rows_of(arms), curves=curves_of(lab, arms))


def steps_to(curve: Curve, loss: float) -> float | None:
    """Steps after which a curve is down at `loss`, between its marks by the logarithm of steps; None: never."""
    points = sorted((step, value) for step, value in curve.losses.items() if step)
    before: tuple[int, float] | None = None
    for step, value in points:
        if value <= loss:
            if before is None:
                return float(step)
            share = (before[1] - loss) / (before[1] - value)
            return math.exp(math.log(before[0]) + share * (math.log(step) - math.log(before[0])))
        before = (step, value)
    return None
