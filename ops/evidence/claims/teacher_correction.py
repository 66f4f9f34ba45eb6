"""A teacher that goes on learning on the distillation data before it teaches (arXiv 2408.11796, section 2.1).

Teachers were trained on the first data phase and on the second one's part of their decay; students learn on the second
phase."""

import copy

from model.hybrid import HybridLM
from ops.evidence.claims import Findings
from ops.evidence.claims.common import FORWARD_KL, compare, curves_of, harmed, pruned, rows_of
from ops.evidence.lab import Lab
from ops.train.objective import CrossEntropy

TITLE = "A teacher corrected on the distillation data teaches better"
PHASE = 2


def run(lab: Lab) -> Findings:
    config = lab.config

    def from_corrected(replicate: int) -> tuple[HybridLM, HybridLM]:
        student, teacher = pruned(lab, replicate)
        corrected = copy.deepcopy(teacher).requires_grad_(True)
        seed = 2_000_000 + lab.seed_of(replicate)
        steps = lab.steps(CrossEntropy(corrected), num_steps=config.steps, lr=config.student_lr, seed=seed, phase=PHASE)
        for _ in steps:
            pass
        return student, corrected

    arms = {
        name: [
            lab.train(name, r, lambda r=r, make=make: make(r), lr=config.student_lr, loss=FORWARD_KL, phase=PHASE)
            for r in range(config.replicates)
        ]
        for name, make in (("corrected", from_corrected), ("uncorrected", lambda r: pruned(lab, r)))
    }
    comparison = compare(
        "a corrected teacher beats an uncorrected one",
        arms,
        "corrected",
        "uncorrected",
        powered=harmed(lab, arms["uncorrected"]),
    )
    return Findings(comparisons=[comparison], arms=rows_of(arms), curves=curves_of(lab, arms))
