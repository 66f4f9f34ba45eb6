"""Search a network under a budget: enumerate, score, distil the best, choose."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.hf_config import read_config
from model.slicing import stored_tensors
from ops.atomic import write_bytes, write_json
from ops.errors import InputError
from ops.identity import encode
from ops.importance.scores import Importance
from ops.prune.run import CHOICE, teacher_of
from ops.search import show
from ops.search.config import SearchConfig
from ops.search.cost import costs, excess
from ops.search.rank import better_half, kendall_tau
from ops.search.space import Candidate, enumerate_candidates
from ops.search.work import LATENCIES, Work, records_of
from ops.settings import open_store
from ops.stage import Check, Execution, Inputs, StageResult, one
from ops.store import Record
from ops.train.result import clear_model_errors
from ops.train.vocabulary import check_same_size

SEARCH, SPEEDS, PARETO = "search.json", "speeds.json", "pareto.svg"


def run(config: SearchConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `choice.json` (the chosen candidate as a PruneConfig), `search.json` (everything that was compared),
    `pareto.svg`, and `speeds.json` (volatile: what was measured).

    Inputs: `sorted_teacher`, whose prefixes all candidates are, or `teacher`, out of which each is sorted and cut; its
    `importance`, `tokenizer`, `training_set`, `tokens`; `distillation_teacher` where finalists learn from another.

    Raises:
        InputError: when no candidate meets the budget (names the nearest), or inputs do not fit each other.
    """
    source, in_order = teacher_of(inputs)
    cut_from = "sorted_teacher" if in_order else "teacher"
    with clear_model_errors():
        teacher = read_config(source)
        stored_tensors(source, teacher)
        if inputs.get("distillation_teacher"):
            other = read_config(one(inputs, "distillation_teacher"))
            check_same_size(teacher=teacher.vocab_size, distillation_teacher=other.vocab_size)
    store = open_store(execution.store)
    records = records_of(store, inputs)
    records.setdefault("distillation_teacher", records[cut_from])
    work = Work(store=store, config=config, execution=execution, inputs=records, cut_from=cut_from)
    order = Importance.read(one(inputs, "importance"), teacher).removal_order(config.base.layer_score)
    found = enumerate_candidates(teacher, config, order)
    if not found.candidates:
        why = f"; the first cannot be cut: {found.first_error}" if found.first_error else ""
        raise InputError(
            f"SearchConfig.space: none of {found.combinations} combinations is a candidate: {dict(found.rejected)}{why}"
        )
    limits = config.budget.limits(costs(teacher, config.budget))
    fitting, rejected, speeds = _fitting(config, limits, found.candidates, work)
    as_cut = {candidate.label: work.loss(candidate) for candidate in fitting}
    by_label = {candidate.label: candidate for candidate in fitting}
    finalists = sorted(as_cut, key=lambda label: (as_cut[label], label))[: config.finalists]
    rounds, pruned = _rounds(config, [by_label[label] for label in finalists], work)
    for label in finalists:
        speeds[label] = work.speed(by_label[label])
    chosen = by_label[rounds[-1]["order"][0]]

    rows = show.rows(fitting, as_cut, rounds, teacher)
    report = {
        "budget": encode(config.budget),
        "limits": limits,
        "chosen": chosen.label,
        "combinations": found.combinations,
        "rejected": {**found.rejected, **rejected},
        "candidates": rows,
        "rounds": rounds,
        "artefacts": sorted(path for path in work.records if not path.startswith(LATENCIES)),
    }
    write_json(out / SEARCH, report)
    write_json(out / CHOICE, encode(chosen.prune))
    write_json(out / SPEEDS, {"speeds": speeds, "made": work.made})
    picture = show.pareto(rows, chosen.label, limits)
    write_bytes(out / PARETO, picture.encode())
    used = list(work.records.values())
    return StageResult(
        counts={
            "combinations": found.combinations,
            "scored": len(fitting),
            "finalists": len(finalists),
            "rounds": len(rounds),
            "parameters": chosen.target.num_params(),
        },
        checks=[_within(limits, chosen, speeds), _as_large(pruned[chosen.label], chosen), _stable(config, rounds)],
        tokens=sum(record.cost.tokens for record in used),
        flops=sum(record.cost.flops for record in used),
        volatile=(SPEEDS,),
        parents=[
            {name: getattr(record, name) for name in ("asset", "partition", "version", "digest")} for record in used
        ],
        summary={
            "chosen": chosen.label,
            "candidates": [row for row in rows if row["label"] in finalists] + show.others(rows, finalists),
            "finalists": show.finalists(rounds, speeds),
            "rejected": report["rejected"],
            "pareto": picture,
        },
    )


def _fitting(
    config: SearchConfig, limits: Mapping[str, float], candidates: Sequence[Candidate], work: Work
) -> tuple[list[Candidate], dict[str, int], dict[str, Any]]:
    """Candidates that meet the budget and use enough of it, why the others do not, and what was measured."""
    use = {candidate.label: excess(candidate.costs, limits) for candidate in candidates}
    fitting = [candidate for candidate in candidates if use[candidate.label] <= 1]
    known: dict[str, Mapping[str, float]] = {candidate.label: candidate.costs for candidate in candidates}
    speeds: dict[str, Any] = {}
    if "decode_ms" in limits:
        for candidate in fitting:
            speeds[candidate.label] = measured = work.speed(candidate)
            known[candidate.label] = {**candidate.costs, "decode_ms": 1000 / measured["decode_tokens_per_second"]}
            use[candidate.label] = excess(known[candidate.label], limits)
        fitting = [candidate for candidate in fitting if use[candidate.label] <= 1]
    if not fitting:
        measured = [candidate for candidate in candidates if candidate.label in speeds] or candidates
        nearest = min(measured, key=lambda candidate: (use[candidate.label], candidate.label))
        needs = ", ".join(
            f"{name} {amount(known[nearest.label][name])} of at most {amount(limit)}"
            for name, limit in limits.items()
            if name in known[nearest.label]
        )
        raise InputError(
            f"SearchConfig.budget: none of {len(candidates)} candidates meets it; the nearest, {nearest.label}, needs "
            f"{needs}. Raise the limit, or add smaller sizes to SearchConfig.space"
        )
    over = len(candidates) - len(fitting)
    least = config.min_use * max(use[candidate.label] for candidate in fitting)
    kept = [candidate for candidate in fitting if use[candidate.label] >= least]
    small = len(fitting) - len(kept)
    kept.sort(key=lambda candidate: (-use[candidate.label], candidate.label))
    scored = kept[: config.max_scored]
    rejected = {"over_budget": over, "far_below_budget": small, "beyond_max_scored": len(kept) - len(scored)}
    return scored, {name: count for name, count in rejected.items() if count}, speeds


def _rounds(
    config: SearchConfig, finalists: Sequence[Candidate], work: Work
) -> tuple[list[dict[str, Any]], dict[str, Record]]:
    """Successive halving: each round distils those that are left a little further, until their order is that of the
    round before. Also returns the checkpoints as cut."""
    by_label = {candidate.label: candidate for candidate in finalists}
    students = pruned = {candidate.label: work.pruned(candidate) for candidate in finalists}
    before = list(by_label)
    rounds: list[dict[str, Any]] = []
    tokens = 0
    for number in range(config.max_rounds):
        students = {label: work.distilled(by_label[label], students[label], number) for label in before}
        loss = {label: work.loss(by_label[label], student) for label, student in students.items()}
        order = sorted(before, key=lambda label: (students[label].status != "accepted", loss[label], label))
        tokens += next(iter(students.values())).counts["tokens"]
        tau = kendall_tau(before, order)
        rounds.append(
            {
                "tokens": tokens,
                "order": order,
                "loss": {label: loss[label] for label in order},
                "tau": tau,
                "rejected": [label for label in order if students[label].status != "accepted"],
            }
        )
        before = [label for label in better_half(order) if label not in rounds[-1]["rejected"]]
        if tau >= config.stable_tau or len(before) < 2:
            break
    if rounds[-1]["order"][0] in rounds[-1]["rejected"]:
        raise InputError("SearchConfig.distill: no finalist came nearer to its teacher; train longer, or more slowly")
    return rounds, pruned


def amount(value: float) -> str:
    """Whole numbers with every digit, others with four."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _within(limits: Mapping[str, float], chosen: Candidate, speeds: Mapping[str, Any]) -> Check:
    found = {**chosen.costs, "decode_ms": 1000 / speeds[chosen.label]["decode_tokens_per_second"]}
    return Check(
        name="within_budget",
        passed=excess(found, limits) <= 1,
        description="the chosen network meets every limit",
        metadata={name: f"{amount(found[name])} of at most {amount(limit)}" for name, limit in limits.items()},
    )


def _as_large(pruned: Record, chosen: Candidate) -> Check:
    found = pruned.counts["parameters"]
    return Check(
        name="costs_hold",
        passed=found == chosen.costs["parameters"],
        description="the network that was cut has as many parameters as its cost says",
        metadata={"parameters": found, "cost": chosen.costs["parameters"]},
    )


def _stable(config: SearchConfig, rounds: Sequence[Mapping[str, Any]]) -> Check:
    tau = rounds[-1]["tau"]
    return Check(
        name="ranking_stable",
        passed=tau >= config.stable_tau,
        description="the last round left the order of its candidates as it was (Kendall's tau)",
        metadata={"tau": tau, "wanted": config.stable_tau, "rounds": len(rounds)},
        blocking=False,
    )
