"""Pruning and distillation against the ways to do without one of them, at equal tokens (Minitron, arXiv 2407.14679,
tables 11 and 12)."""

from ops.evidence.claims import Findings
from ops.evidence.claims.common import FORWARD_KL, compare, curves_of, harmed, pruned, rows_of, scratch
from ops.evidence.lab import Lab

TITLE = "A pruned and distilled student is better than one that lacks the pruning or the distillation"


def run(lab: Lab) -> Findings:
    config = lab.config
    replicates = range(config.replicates)
    arms = {
        "pruned + KD": [
            lab.train("pruned-kd", r, lambda r=r: pruned(lab, r), lr=config.student_lr, loss=FORWARD_KL)
            for r in replicates
        ],
        "pruned + labels": [
            lab.train("pruned-labels", r, lambda r=r: pruned(lab, r), lr=config.student_lr) for r in replicates
        ],
        "scratch + KD": [
            lab.train("scratch-kd", r, lambda r=r: scratch(lab, r), lr=config.scratch_lr, loss=FORWARD_KL)
            for r in replicates
        ],
        "scratch + labels": [
            lab.train("scratch-labels", r, lambda r=r: scratch(lab, r), lr=config.scratch_lr) for r in replicates
        ],
    }
    powered = harmed(lab, arms["pruned + KD"])
    comparisons = [
        compare("distillation beats labels after pruning", arms, "pruned + KD", "pruned + labels", powered=powered),
        compare("pruning beats scratch with labels", arms, "pruned + labels", "scratch + labels"),
        compare("pruning beats scratch with distillation", arms, "pruned + KD", "scratch + KD"),
    ]
    return Findings(comparisons=comparisons, arms=rows_of(arms), curves=curves_of(lab, arms))
