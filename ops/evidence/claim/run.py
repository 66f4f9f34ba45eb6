"""Try a claim; leave its comparisons, what stands behind each, and the cost."""

import dataclasses
import importlib
from pathlib import Path

from ops.atomic import sweep, write_json
from ops.data import TokenData
from ops.evidence.claims import Findings
from ops.evidence.config import ClaimConfig
from ops.evidence.lab import Lab
from ops.evidence.stats import outcome
from ops.stage import Check, Execution, Inputs, StageResult, many, one
from ops.train.loop import deterministic

FINDINGS = "findings.json"


def run(config: ClaimConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `findings.json` and what was measured (`trials/`).

    Raises:
        InputError: when the inputs do not fit the config.
    """
    sweep(out)
    evidence = config.evidence
    data = TokenData.open(one(inputs, "training_set"), many(inputs, "tokens"))
    claim = importlib.import_module(f"ops.evidence.claims.{config.claim}")
    with deterministic(threads=execution.threads, device=execution.device):
        lab = Lab(evidence, data, one(inputs, "teachers"), out, execution.device)
        findings: Findings = claim.run(lab)
    rows = []
    for comparison in findings.comparisons:
        p = comparison.p_value()
        rows.append(
            {
                **dataclasses.asdict(comparison),
                "mean": comparison.mean,
                "interval": comparison.interval(evidence.confidence),
                "p_value": p,
                "outcome_alone": outcome(comparison, p, evidence.confidence),
            }
        )
    found = {
        "claim": config.claim,
        "title": claim.TITLE,
        "comparisons": rows,
        "arms": findings.arms,
        "curves": findings.curves,
        "held_out_tokens": lab.held_out_tokens,
        "teacher_seeds": evidence.teachers.seeds,
        "tokens": lab.tokens,
        "flops": lab.flops,
    }
    write_json(out / FINDINGS, found)
    against = [row["name"] for row in rows if row["outcome_alone"] == "contradicted"]
    return StageResult(
        counts={"comparisons": len(rows), "tokens": lab.tokens},
        checks=(
            Check(
                name="not_contradicted",
                passed=not against,
                description="no comparison of this claim goes against it",
                metadata={"contradicted": against},
                blocking=False,
            ),
        ),
        tokens=lab.tokens,
        flops=lab.flops,
        summary={key: found[key] for key in ("title", "comparisons", "arms")},
    )
