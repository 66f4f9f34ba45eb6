"""Forward KL on all logits against the other losses (Minitron, arXiv 2407.14679, table 5 and section 4.2)."""

from ops.distill.config import LossConfig
from ops.evidence.claims import Findings
from ops.evidence.claims.common import FORWARD_KL, compare, curves_of, harmed, pruned, rows_of
from ops.evidence.lab import Lab

TITLE = "Forward KL on all logits is the best of the losses to a teacher's logits"
LOSSES = {
    "forward KL": FORWARD_KL,
    "reverse KL": LossConfig(kind="reverse_kl"),
    "MSE of logits": LossConfig(kind="mse"),
    "cosine of logits": LossConfig(kind="cosine"),
    "top-8 KL": LossConfig(kind="top_k_kl", top_k=8),
    "forward KL + labels": LossConfig(ce_weight=1.0),
}


def run(lab: Lab) -> Findings:
    arms = {
        name: [
            lab.train(
                name.lower().replace(" ", "-").replace("+", "and"),
                r,
                lambda r=r: pruned(lab, r),
                lr=lab.config.student_lr,
                loss=loss,
            )
            for r in range(lab.config.replicates)
        ]
        for name, loss in LOSSES.items()
    }
    powered = harmed(lab, arms["forward KL"])
    others = [name for name in LOSSES if name != "forward KL"]
    comparisons = [compare(f"forward KL beats {name}", arms, "forward KL", name, powered=powered) for name in others]
    return Findings(comparisons=comparisons, arms=rows_of(arms), curves=curves_of(lab, arms))
