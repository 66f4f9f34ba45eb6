"""Search: scores are those of real checkpoints, nothing is done twice."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.config import HybridConfig
from model.hybrid import HybridLM
from ops.data import TokenData
from ops.distill.config import DistillConfig
from ops.errors import InputError
from ops.execute import Request, execute
from ops.identity import decode
from ops.importance.config import ImportanceConfig
from ops.importance.run import run as score
from ops.prune.config import PruneConfig, WidthTarget
from ops.prune.run import run as prune
from ops.report.collect import missing_parents
from ops.search.config import Budget, SearchConfig, Space
from ops.search.latency.config import Workload
from ops.search.loss.config import CandidateLossConfig
from ops.search.loss.run import run as score_candidate
from ops.search.rank import kendall_tau
from ops.search.run import run
from ops.search.stages import SEARCH
from ops.search.work import records_of
from ops.sort_teacher.config import SortConfig
from ops.sort_teacher.run import run as sort_teacher
from ops.stage import Execution, StageResult
from ops.store import Store
from ops.store.lineage import ancestors, collectable
from ops.store.record import BESIDE
from ops.train.config import AdamWConfig, WSDConfig
from tests.ops.search_inputs import TEACHER
from tests.ops.training_inputs import write_inputs

ONE = Execution(threads=1)
SPACE = Space(width={"d_model": (24, 32), "intermediate_size": (0.5, 1.0)}, num_layers=(4, 5), keep={"*": 1})
CONFIG = SearchConfig(
    space=SPACE,
    budget=Budget(parameters=27_500, workload=Workload(prompt_tokens=8, decode_tokens=2)),
    min_use=0.7,
    calibration_sequences=4,
    seq_len=32,
    finalists=3,
    distill=DistillConfig(
        optimizer=AdamWConfig(peak_lr=3e-3),
        schedule=WSDConfig(warmup_steps=1),
        batch_size=4,
        seq_len=32,
        total_tokens=3 * 4 * 32,
        validation_sequences=4,
        sample_prompts=(),
    ),
    max_rounds=2,
    stable_tau=1.0,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("search")
    made = write_inputs(folder)
    save_checkpoint(HybridLM.create(TEACHER, seed=5), folder / "teacher")
    (folder / "importance").mkdir()
    made |= {"teacher": [folder / "teacher"]}
    config = ImportanceConfig(num_samples=4, seq_len=32, batch_size=4, depth_num_samples=2)
    score(config, made, folder / "importance", ONE)
    made |= {"importance": [folder / "importance"]}
    (folder / "sorted").mkdir()
    sort_teacher(SortConfig(check_sequences=2, check_seq_len=32), made, folder / "sorted", ONE)
    del made["teacher"]
    return {**made, "sorted_teacher": [folder / "sorted"]}


@pytest.fixture(scope="module")
def unsorted(inputs: dict[str, list[Path]]) -> dict[str, list[Path]]:
    rest = {name: paths for name, paths in inputs.items() if name != "sorted_teacher"}
    return {**rest, "teacher": [inputs["sorted_teacher"][0].with_name("teacher")]}


def search(
    config: SearchConfig, inputs: Mapping[str, list[Path]], out: Path, store: Path
) -> tuple[StageResult, dict[str, Any]]:
    out.mkdir()
    result = run(config, inputs, out, replace(ONE, store=str(store)))
    return result, json.loads((out / "search.json").read_text())


def made(out: Path) -> list[str]:
    return json.loads((out / "speeds.json").read_text())["made"]


@pytest.fixture(scope="module")
def searched(inputs: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory):
    base = tmp_path_factory.mktemp("searched")
    result, report = search(CONFIG, inputs, base / "out", base / "store")
    return base, result, report


def test_the_chosen_is_the_best_of_the_last_round_and_every_score_is_that_of_its_checkpoint(
    inputs: dict[str, list[Path]], unsorted: dict[str, list[Path]], searched, tmp_path: Path
) -> None:
    base, result, report = searched
    assert all(check.passed for check in result.checks if check.blocking)
    rows = {row["label"]: row for row in report["candidates"]}
    assert report["combinations"] == 8 == len(rows) + sum(report["rejected"].values())
    assert all(20_000 < row["parameters"] <= 27_500 for row in rows.values())
    as_cut = sorted(rows, key=lambda label: rows[label]["loss_as_cut"])
    first, last = report["rounds"][0], report["rounds"][-1]
    assert set(first["order"]) == set(as_cut[:3])
    assert first["tau"] == kendall_tau(as_cut[:3], first["order"])
    assert first["order"] == sorted(first["order"], key=lambda label: first["loss"][label])
    assert report["chosen"] == last["order"][0]
    if first["tau"] < 1:
        assert set(last["order"]) == set(first["order"][:2])
        assert last["tokens"] == 3 * first["tokens"]

    parts = {name: unsorted[name] for name in ("teacher", "importance", "tokenizer")}
    prune(PruneConfig(), {**parts, "search": [base / "out"]}, tmp_path, ONE)
    student = load_checkpoint(tmp_path)
    chosen = rows[report["chosen"]]
    assert sum(parameter.numel() for parameter in student.parameters()) == chosen["parameters"]
    assert student.config.pattern == chosen["pattern"]
    data = TokenData.open(inputs["training_set"][0], inputs["tokens"])
    total, tokens = 0.0, 0
    for number in range(4):
        batch = data.samples(range(number, number + 1), phase=2, seq_len=32, seed=CONFIG.calibration_seed)
        with torch.no_grad():
            logits = student(torch.from_numpy(batch.input_ids), seq_idx_BL=torch.from_numpy(batch.seq_idx))
        labels = torch.from_numpy(batch.labels)
        log_q = logits.double().log_softmax(-1)[labels >= 0]
        total -= float(log_q.gather(1, labels[labels >= 0][:, None]).sum())
        tokens += int((labels >= 0).sum())
    assert chosen["loss_as_cut"] == pytest.approx(total / tokens, rel=1e-5)


def test_candidates_are_prefixes_of_the_sorted_teacher_and_name_what_they_are_of_the_first(
    inputs: dict[str, list[Path]], unsorted: dict[str, list[Path]], searched, tmp_path: Path
) -> None:
    base, _, report = searched
    store = Store(str(base / "store"))
    first = load_checkpoint(unsorted["teacher"][0]).state_dict()
    whole = load_checkpoint(inputs["sorted_teacher"][0]).state_dict()
    for asset in ("candidate_pruned", "candidate_distilled"):
        for record in store.records(asset):
            assert record.partition in report["rounds"][0]["order"]
            folder = store.local_path(record)
            maps = json.loads((folder / "index_maps.json").read_text())
            if asset == "candidate_pruned":
                own = load_checkpoint(folder).state_dict()["lm_head.weight"]
                assert torch.equal(own, whole["lm_head.weight"][:, : own.shape[1]])
                assert torch.equal(own, first["lm_head.weight"][:, maps["d_model"]])
            assert maps["teacher"]["d_model"] == 32 > maps["student"]["d_model"]
    layers = {row["label"]: row["layers"] for row in report["candidates"]}
    for record in store.records("candidate_pruned"):
        maps = json.loads((store.local_path(record) / "index_maps.json").read_text())
        assert layers[str(record.partition)] == [layer["parent"] for layer in maps["layers"]]
    # The unsorted teacher gives every candidate the same loss, up to rounding.
    (record, *_) = store.records("candidate_score")
    config = decode(CandidateLossConfig, record.config)
    score_candidate(config, unsorted, tmp_path, ONE)
    found = json.loads((tmp_path / "score.json").read_text())["loss"]
    row = next(row for row in report["candidates"] if row["label"] == record.partition)
    assert found == pytest.approx(row["loss_as_cut"], rel=1e-6)


def test_the_record_says_what_the_search_made(searched) -> None:
    base, result, report = searched
    store = Store(str(base / "store"))
    there = {record.id.path for record in store.records() if record.asset.startswith("candidate_")}
    assert there == set(made(base / "out"))
    assert set(report["artefacts"]) == {path for path in there if not path.startswith("candidate_latency/")}
    assert {(parent["asset"], parent["digest"]) for parent in result.parents} == {
        (record.asset, record.digest) for record in store.records() if record.asset.startswith("candidate_")
    }
    assert "<svg" in result.summary["pareto"]
    assert report["chosen"] in result.summary["pareto"]


def test_as_an_artefact_it_keeps_what_it_made(inputs: dict[str, list[Path]], searched) -> None:
    base, _, report = searched
    store = Store(str(base / "store"))
    before = {record.id.path for record in store.records()}
    records = records_of(store, inputs)
    request = Request(asset="search_memory", stage=SEARCH, config=CONFIG, inputs=records)
    record = execute(store, request, ONE).record
    assert made(store.local_path(record)) == [], "the store that it is made in is the one that it looks in"
    assert {path.id.path for path in store.records()} - before == {record.id.path}
    assert record.status == "accepted"
    beside = {parent.id.path for parent in record.parents if parent.input == BESIDE}
    assert set(report["artefacts"]) < beside
    assert beside <= {found.id.path for found in ancestors(store, [record])}
    assert not beside & {found.id.path for found in collectable(store)}
    assert missing_parents({"search_memory": [record], **records}) == []


def test_another_budget_makes_only_what_is_new_and_the_same_one_nothing(
    inputs: dict[str, list[Path]], searched, tmp_path: Path
) -> None:
    base, result, report = searched
    again, _ = search(CONFIG, inputs, tmp_path / "again", base / "store")
    assert made(tmp_path / "again") == []
    for name in ("search.json", "choice.json", "pareto.svg"):
        assert (tmp_path / "again" / name).read_bytes() == (base / "out" / name).read_bytes()
    assert again == result
    smaller = replace(CONFIG, budget=replace(CONFIG.budget, parameters=26_000))
    _, other = search(smaller, inputs, tmp_path / "smaller", base / "store")
    known = {row["label"] for row in report["candidates"]}
    new = {row["label"] for row in other["candidates"]} - known
    scored = [path for path in made(tmp_path / "smaller") if path.startswith("candidate_score/")]
    assert {path.split("/")[1] for path in scored} == new
    assert {row["label"] for row in other["candidates"]} & known, "the budgets have candidates in common"


def test_a_budget_that_nothing_meets_is_refused_with_the_nearest(
    inputs: dict[str, list[Path]], searched, tmp_path: Path
) -> None:
    base, _, _ = searched
    nothing = replace(CONFIG, budget=Budget(parameters=1000))
    with pytest.raises(
        InputError, match=r"nearest, d24-f24-4of5, needs parameters [\d,.e+]+ of at most 1,000"
    ) as error:
        search(nothing, inputs, tmp_path / "out", base / "store")
    assert "add smaller sizes to SearchConfig.space" in str(error.value)
    impossible = replace(CONFIG, space=Space(width={"d_model": (64,)}))
    with pytest.raises(InputError, match=r"none of 1 combinations is a candidate.*d_model: 64 is more than"):
        search(impossible, inputs, tmp_path / "impossible", base / "store")
    slow = replace(CONFIG, budget=Budget(decode_ms=1e-6, workload=CONFIG.budget.workload))
    with pytest.raises(InputError, match=r"needs decode_ms [\d.]+ of at most 1e-06"):
        search(slow, inputs, tmp_path / "slow", base / "store")


def test_a_latency_is_measured_once_and_decides(
    inputs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With speeds that are invented here, so that the decision is known."""
    measured: list[HybridConfig] = []

    def invented(model: HybridLM, **_: int) -> dict[str, float]:
        measured.append(model.config)
        return {"decode_tokens_per_second": 1000 / model.config.num_layers}

    monkeypatch.setattr("ops.search.latency.run.measure_speed", invented)
    budget = Budget(decode_ms=4.5, workload=CONFIG.budget.workload)
    config = replace(CONFIG, budget=budget, min_use=0.0, finalists=1)
    store = tmp_path / "store"
    result, report = search(config, inputs, tmp_path / "out", store)
    assert {len(row["pattern"]) for row in report["candidates"]} == {4}
    assert report["rejected"]["over_budget"] == 3
    assert len(measured) == len(set(measured)) == 7
    assert next(check for check in result.checks if check.name == "within_budget").passed
    search(replace(config, budget=replace(budget, decode_ms=5.5)), inputs, tmp_path / "again", store)
    assert len(measured) == 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(), "set a limit"),
        (lambda: Budget(parameters=0), "parameters"),
        (lambda: Space(width={"depth": (1,)}), "no axis 'depth'"),
        (lambda: Space(width={"d_model": ()}), "has no sizes"),
        (lambda: Space(num_layers=(3,), keep={"X": 1}), "Space.keep: 'X' is no kind of layer; there are 'M' Mamba-2"),
        (lambda: Space(num_layers=(1.5,)), "shares up to 1.0; got 1.5"),
        (lambda: Budget(memory_bytes=1.5), "memory_bytes"),
        (lambda: replace(CONFIG, calibration_seed=1), "1 is the seed of a distillation"),
        (lambda: replace(CONFIG, base=PruneConfig(width=WidthTarget(d_model=8))), r"SearchConfig\.base"),
        (
            lambda: replace(CONFIG, distill=replace(CONFIG.distill, teacher="cached")),
            "must be online|cached logits serve",
        ),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
