"""The experiments, small: every claim is tried, what must hold holds, and a killed one ends with the same bytes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.hybrid import HybridLM
from model.slicing import gather_model
from ops.data import TokenData
from ops.errors import InputError
from ops.evidence.claim.run import run as try_claim
from ops.evidence.claims.common import cut_axis, student_maps
from ops.evidence.claims.group_aware import displaced_share, naive_maps
from ops.evidence.claims.width_or_depth import narrow
from ops.evidence.config import CLAIMS, ClaimConfig, EvidenceConfig, TableConfig, TeachersConfig
from ops.evidence.lab import TRIALS, Lab
from ops.evidence.table.run import run as make_table
from ops.evidence.teachers.run import run as make_teachers
from ops.stage import Execution
from tests.ops.training_inputs import tiny_model, write_inputs

pytestmark = pytest.mark.slow
EXECUTION = Execution(threads=1)
SEED = 0


@pytest.fixture(scope="module")
def lab_inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Teachers that have learned something, and the data."""
    base = tmp_path_factory.mktemp("evidence")
    inputs = write_inputs(base / "inputs")
    vocab_size = TokenData.open(inputs["training_set"][0], inputs["tokens"]).vocab_size
    model = replace(tiny_model(vocab_size, "M-*-M-"), mamba_num_heads=8)
    config = EvidenceConfig(
        teachers=TeachersConfig(
            model=model, seeds=(0, 1, 2), tokens=120_000, batch_size=8, seq_len=64, calibration_samples=16
        ),
        replicates=3,
        steps=12,
        scratch_factor=2,
        random_draws=4,
        held_out_sequences=8,
    )
    teachers = base / "teachers"
    teachers.mkdir()
    result = make_teachers(config.teachers, inputs, teachers, EXECUTION)
    assert all(check.passed for check in result.checks)
    return {"config": config, "inputs": {**inputs, "teachers": [teachers]}, "base": base}


def tried(lab_inputs: dict[str, Any], claim: str) -> Path:
    """The claim's directory, made once."""
    out = lab_inputs["base"] / claim
    out.mkdir(exist_ok=True)
    try_claim(ClaimConfig(evidence=lab_inputs["config"], claim=claim), lab_inputs["inputs"], out, EXECUTION)
    return out


def findings(out: Path) -> dict[str, Any]:
    return json.loads((out / "findings.json").read_text())


def test_every_claim_ends_in_one_table(lab_inputs: dict[str, Any], tmp_path: Path) -> None:
    places = [tried(lab_inputs, claim) for claim in CLAIMS]
    result = make_table(TableConfig(), {"claims": places}, tmp_path, EXECUTION)
    comparisons = [row for place in places for row in findings(place)["comparisons"]]
    assert (
        result.counts["comparisons"]
        == len(comparisons)
        == sum(result.counts[name] for name in ("supported", "contradicted", "unresolved"))
    )
    text = (tmp_path / "evidence.md").read_text()
    assert all(f"{row['mean']:+.4f}" in text for row in comparisons)
    assert (tmp_path / "evidence.html").read_text().count("<svg") == 6
    by_name = {row["name"]: row for row in comparisons}
    # Effects of half a nat and more, at any scale at which a teacher has learned something.
    for name in ("pruning beats scratch with labels", "pruning beats scratch with distillation"):
        assert min(by_name[name]["differences"]) > 0.2
        assert by_name[name]["outcome_alone"] == "supported"
    assert by_name["distillation saves tokens"]["mean"] > 0


def test_a_difference_is_that_of_the_arms_it_names(lab_inputs: dict[str, Any]) -> None:
    out = tried(lab_inputs, "recipe")
    (row,) = [r for r in findings(out)["comparisons"] if r["worse"] == "pruned + labels"]

    def last(arm: str, replicate: int) -> float:
        losses = json.loads((out / TRIALS / f"{arm}-{replicate}.json").read_text())["found"]["losses"]
        return losses[max(losses, key=int)]

    assert row["differences"] == [last("pruned-labels", r) - last("pruned-kd", r) for r in range(3)]


def test_a_killed_claim_measures_what_it_lacks_and_ends_with_the_same_bytes(
    lab_inputs: dict[str, Any], tmp_path: Path
) -> None:
    whole = tried(lab_inputs, "teacher_correction")
    shutil.copytree(whole / TRIALS, tmp_path / TRIALS)
    for name in ("corrected-1.json", "uncorrected-0.json", "teacher-2.json"):
        (tmp_path / TRIALS / name).unlink()
    config = ClaimConfig(evidence=lab_inputs["config"], claim="teacher_correction")
    try_claim(config, lab_inputs["inputs"], tmp_path, EXECUTION)
    files = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {path.relative_to(whole): path.read_bytes() for path in whole.rglob("*") if path.is_file()}


def test_naive_ranking_moves_heads_to_other_groups(lab_inputs: dict[str, Any], tmp_path: Path) -> None:
    """It keeps the best heads of each layer; of eight heads in two groups four stay, the first two with group 0."""
    config = lab_inputs["config"]
    inputs = lab_inputs["inputs"]
    data = TokenData.open(inputs["training_set"][0], inputs["tokens"])
    lab = Lab(config, data, inputs["teachers"][0], tmp_path, "cpu")
    target = cut_axis(config.model, "mamba_num_heads", 0.5)
    aware = student_maps(lab, SEED, target)
    naive = naive_maps(lab, SEED, target, aware)
    heads = {layer.parent: layer.axes.get("mamba_num_heads") for layer in naive.layers}
    scores = lab.importance(SEED).width_scores(config.model)
    for layer in naive.layers:
        kept = heads[layer.parent]
        if kept is not None:
            values = scores.layers[layer.parent]["mamba_num_heads"]
            assert set(values.topk(4).indices.tolist()) == set(kept)
    places = [(head, place) for kept in heads.values() if kept for place, head in enumerate(kept)]
    wrong = sum((head < 4) != (place < 2) for head, place in places)
    assert displaced_share(lab, SEED, target) == wrong / len(places)
    assert gather_model(lab.teacher(SEED), naive).config == target


def test_a_narrow_student_fits_under_a_shallow_one(lab_inputs: dict[str, Any]) -> None:
    model = lab_inputs["config"].model
    for share in (0.5, 0.8, 1.0):
        budget = int(model.num_params() * share)
        found = narrow(model, budget)
        assert found.num_params() <= budget
        assert found.num_params() > 0.9 * budget


def test_training_is_a_function_of_the_replicate(lab_inputs: dict[str, Any], tmp_path: Path) -> None:
    config, inputs = lab_inputs["config"], lab_inputs["inputs"]
    data = TokenData.open(inputs["training_set"][0], inputs["tokens"])
    losses = []
    for name, replicate in (("a", 0), ("b", 0), ("c", 1)):
        lab = Lab(config, data, inputs["teachers"][0], tmp_path / name, "cpu")
        make = lambda lab=lab, r=replicate: (lab.scratch(config.model, r), None)  # noqa: E731
        losses.append(lab.train("arm", replicate, make, lr=1e-3).losses)
    assert losses[0] == losses[1] != losses[2]
    assert set(losses[0]) == {0, *config.marks}


def test_a_teacher_loss_without_a_teacher_is_refused(lab_inputs: dict[str, Any], tmp_path: Path) -> None:
    from ops.distill.config import LossConfig

    config, inputs = lab_inputs["config"], lab_inputs["inputs"]
    lab = Lab(config, TokenData.open(inputs["training_set"][0], inputs["tokens"]), tmp_path, tmp_path, "cpu")
    with pytest.raises(InputError, match="arm: a loss to a teacher, and no teacher"):
        lab.train("arm", 0, lambda: (HybridLM.create(config.model, seed=0), None), lr=1e-3, loss=LossConfig())


def test_held_out_loss_is_that_of_the_logits(lab_inputs: dict[str, Any], tmp_path: Path) -> None:
    config, inputs = lab_inputs["config"], lab_inputs["inputs"]
    data = TokenData.open(inputs["training_set"][0], inputs["tokens"])
    lab = Lab(config, data, inputs["teachers"][0], tmp_path, "cpu")
    teacher = lab.teacher(SEED)
    total, count = 0.0, 0
    for batch in data.validation_batches(batch_size=8, seq_len=64, max_tokens=8 * 64):
        logits = teacher(torch.from_numpy(batch.input_ids), seq_idx_BL=torch.from_numpy(batch.seq_idx))
        labels = torch.from_numpy(batch.labels).flatten()
        total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels, reduction="sum").item()
        count += int((labels >= 0).sum())
    assert lab.loss(teacher) == pytest.approx(total / count, rel=1e-5)
