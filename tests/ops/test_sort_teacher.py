"""The sorted teacher is the teacher, students are its prefixes, and maps lead back to the first teacher."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from assets.recipes.paper import nemotron_h_8b
from model.checkpoint import load_checkpoint, save_checkpoint
from model.config import HybridConfig
from model.hybrid import HybridLM
from model.slicing import IndexMaps, gather_model
from ops.errors import InputError
from ops.importance.config import ImportanceConfig
from ops.importance.run import run as score
from ops.prune.config import DepthTarget, PruneConfig, WidthTarget
from ops.prune.run import run as prune
from ops.sort_teacher import run as stage
from ops.sort_teacher.config import SortConfig
from ops.sort_teacher.run import run
from ops.stage import Execution
from tests.ops.training_inputs import tiny_model, write_inputs

ONE = Execution(threads=1)
CONFIG = replace(
    tiny_model(320),
    pattern="M*EM-",
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    n_routed_experts=6,
    num_experts_per_tok=2,
    moe_intermediate_size=16,
    moe_shared_expert_intermediate_size=24,
    moe_latent_size=16,
    num_nextn_predict_layers=1,
)
SORT = SortConfig(check_sequences=4, check_seq_len=32)
STUDENT = PruneConfig(
    width=WidthTarget(d_model=24, n_routed_experts=4, moe_intermediate_size=0.5, mamba_num_heads=0.5),
    depth=DepthTarget(num_layers=4, keep={"E": 1}),
)
SCORES = ImportanceConfig(num_samples=4, seq_len=32, batch_size=4, depth_num_samples=2)
Inputs = dict[str, list[Path]]


def write_teacher(folder: Path, config: HybridConfig) -> Path:
    teacher = HybridLM.create(config, seed=5)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)) * 0.1)
    save_checkpoint(teacher, folder)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("sort")
    made = write_inputs(folder)
    given = {**made, "teacher": [write_teacher(folder / "teacher", CONFIG)], "importance": [folder / "importance"]}
    (folder / "importance").mkdir()
    score(SCORES, {name: given[name] for name in ("teacher", "training_set", "tokens")}, folder / "importance", ONE)
    return given


@pytest.fixture(scope="module")
def sorted_teacher(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sorted")
    result = run(SORT, inputs, out, ONE)
    assert {check.name: check.passed for check in result.checks} == {"same_function": True, "reads_back": True}
    assert 0 < result.checks[0].metadata["relative_error"] < 1e-5
    assert result.checks[0].metadata["tokens"] == 4 * 32
    assert result.summary["moved"] > 0.5
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def without_teacher(inputs: Inputs) -> Inputs:
    return {name: paths for name, paths in inputs.items() if name != "teacher"}


def test_a_student_is_the_same_from_the_teacher_and_from_the_sorted_teacher(
    inputs: Inputs, sorted_teacher: Path, tmp_path: Path
) -> None:
    direct = prune(STUDENT, inputs, tmp_path / "direct", ONE)
    cut = prune(STUDENT, {**without_teacher(inputs), "sorted_teacher": [sorted_teacher]}, tmp_path / "cut", ONE)
    assert contents(tmp_path / "cut") == contents(tmp_path / "direct")
    assert cut == direct
    assert all(check.passed for check in cut.checks)
    maps = IndexMaps.from_json(json.loads((tmp_path / "cut" / "index_maps.json").read_text()))
    expected = gather_model(load_checkpoint(inputs["teacher"][0]), maps).state_dict()
    found = load_checkpoint(tmp_path / "cut").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_maps_of_a_student_of_a_student_lead_back_to_the_first_teacher(inputs: Inputs, tmp_path: Path) -> None:
    prune(STUDENT, inputs, tmp_path / "first", ONE)
    given = {**inputs, "teacher": [tmp_path / "first"]}
    (tmp_path / "scores").mkdir()
    score(SCORES, {name: given[name] for name in ("teacher", "training_set", "tokens")}, tmp_path / "scores", ONE)
    given["importance"] = [tmp_path / "scores"]
    smaller = PruneConfig(width=WidthTarget(d_model=16), depth=DepthTarget(num_layers=3), multi_token_prediction=False)
    result = prune(smaller, given, tmp_path / "second", ONE)
    data = json.loads((tmp_path / "second" / "index_maps.json").read_text())
    assert data["teacher"]["d_model"] == 32
    assert result.summary["layers_of_first_teacher"] == [layer["parent"] for layer in data["layers"]]
    expected = gather_model(load_checkpoint(inputs["teacher"][0]), IndexMaps.from_json(data)).state_dict()
    found = load_checkpoint(tmp_path / "second").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_an_order_across_groups_fails_the_check(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = stage.order

    def across(*args) -> IndexMaps:
        maps = right(*args)
        first = maps.layers[0]
        heads = first.axes["mamba_num_heads"]
        swapped = replace(first, axes={**first.axes, "mamba_num_heads": (heads[2], heads[1], heads[0], heads[3])})
        return replace(maps, layers=(swapped, *maps.layers[1:]))

    monkeypatch.setattr(stage, "order", across)
    checks = {check.name: check for check in run(SORT, inputs, tmp_path, ONE).checks}
    assert not checks["same_function"].passed
    assert checks["same_function"].metadata["relative_error"] > 1e-3
    assert checks["reads_back"].passed


def test_another_order_is_refused(inputs: Inputs, sorted_teacher: Path, tmp_path: Path) -> None:
    given = {**without_teacher(inputs), "sorted_teacher": [sorted_teacher]}
    with pytest.raises(InputError, match=r"is sorted by .*'reap'.*, the student asks for .*'ean_mean'"):
        prune(replace(STUDENT, expert_score="ean_mean"), given, tmp_path, ONE)
    with pytest.raises(InputError, match=r"is not a sorted teacher, index_maps\.json does not say in which order"):
        prune(STUDENT, {**given, "sorted_teacher": inputs["teacher"]}, tmp_path, ONE)
    with pytest.raises(InputError, match="give `teacher` or `sorted_teacher`, not both"):
        prune(STUDENT, {**inputs, **given}, tmp_path, ONE)
    with pytest.raises(InputError, match=r"mamba_head_dim: is for mamba_head_score 'x_score'"):
        SortConfig(mamba_head_dim=4)
    recipe = nemotron_h_8b()
    with pytest.raises(InputError, match=r"student '4b' asks for mamba_head_score 'x_score', its teacher is sorted by"):
        replace(recipe, sort=SortConfig())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PruneConfig(width=WidthTarget(n_routed_experts=1)), "n_routed_experts (1) must divide into n_group (1)"),
        (PruneConfig(width=WidthTarget(n_routed_experts=8)), "n_routed_experts: 8 is more than the parent's 6"),
        (
            PruneConfig(width=WidthTarget(intermediate_size=8), depth=DepthTarget(keep={"-": 0})),
            "intermediate_size: is 8 and not the parent's 48, but no layer of the target has it",
        ),
    ],
)
def test_targets_that_cannot_be_met_are_refused(
    config: PruneConfig, message: str, inputs: Inputs, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        prune(config, inputs, tmp_path, ONE)
