"""Pruned checkpoints: the right weights, the right shape, and bad targets refused."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint import load_checkpoint, save_checkpoint
from model.config import HybridConfig
from model.hybrid import HybridLM
from ops.errors import InputError
from ops.importance.config import ImportanceConfig
from ops.importance.run import run as score
from ops.importance.scores import Importance
from ops.prune.config import DepthTarget, PruneConfig, WidthTarget
from ops.prune.run import plan, run
from ops.prune.target import resolve_layers, resolve_width
from ops.stage import Execution
from tests.ops.training_inputs import tiny_model, write_inputs

ONE = Execution(threads=1)
CONFIG = replace(tiny_model(320, pattern="M*-M-M-"), num_attention_heads=4, num_key_value_heads=2, head_dim=8)
WIDTH = PruneConfig(
    width=WidthTarget(d_model=24, intermediate_size=0.5, num_attention_heads=2, mamba_num_heads=0.5, mamba_head_dim=0.9)
)
DEPTH = PruneConfig(depth=DepthTarget(num_layers=5, keep={"*": 1}))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("prune")
    made = write_inputs(folder)
    teacher = HybridLM.create(CONFIG, seed=5)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)) * 0.1)
    save_checkpoint(teacher, folder / "teacher")
    config = ImportanceConfig(num_samples=4, seq_len=32, batch_size=4, depth_num_samples=2)
    (folder / "importance").mkdir()
    score(config, {**made, "teacher": [folder / "teacher"]}, folder / "importance", ONE)
    return {
        "teacher": [folder / "teacher"],
        "importance": [folder / "importance"],
        "tokenizer": made["tokenizer"],
    }


def logits(model: HybridLM) -> torch.Tensor:
    ids = torch.randint(320, (2, 33), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids)


def test_a_width_pruned_checkpoint_holds_the_channels_that_its_maps_name(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    result = run(WIDTH, inputs, tmp_path, ONE)
    assert [check.name for check in result.checks if not check.passed] == []
    student = load_checkpoint(tmp_path)
    expected = replace(
        CONFIG, d_model=24, intermediate_size=24, num_attention_heads=2, mamba_num_heads=2, mamba_head_dim=4
    )
    assert student.config == expected
    assert result.counts["parameters"] == expected.num_params()
    assert result.summary["share_of_parameters"] == expected.num_params() / CONFIG.num_params()

    maps = json.loads((tmp_path / "index_maps.json").read_text())
    own, parent = student.state_dict(), load_checkpoint(inputs["teacher"][0]).state_dict()
    d_model = torch.tensor(maps["d_model"])
    assert torch.equal(own["lm_head.weight"], parent["lm_head.weight"][:, d_model])
    for index, layer in enumerate(maps["layers"]):
        assert layer["parent"] == index
        name = f"backbone.layers.{index}.mixer."
        if CONFIG.pattern[index] == "-":
            kept = torch.tensor(layer["intermediate_size"])
            assert torch.equal(own[f"{name}up_proj.weight"], parent[f"{name}up_proj.weight"][kept][:, d_model])
        if CONFIG.pattern[index] == "M":
            heads, channels = layer["mamba_num_heads"], layer["mamba_head_dim"]
            assert [head // 2 for head in heads] == [0, 1]  # one of each group
            weight = parent[f"{name}norm.weight"].reshape(4, 8)
            assert own[f"{name}norm.weight"].tolist() == [float(weight[h, p]) for h in heads for p in channels]
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / name).read_bytes() == (inputs["tokenizer"][0] / name).read_bytes()


def test_the_most_important_are_kept(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    run(WIDTH, inputs, tmp_path, ONE)
    maps = json.loads((tmp_path / "index_maps.json").read_text())
    importance = Importance.read(inputs["importance"][0], CONFIG)
    assert maps["d_model"] == importance.tensors["d_model"].argsort(descending=True)[:24].tolist()
    neurons = importance.tensors["layers.2.intermediate_size"]
    assert maps["layers"][2]["intermediate_size"] == neurons.argsort(descending=True)[:24].tolist()
    best = importance.tensors["layers.0.mamba_contribution"].reshape(2, 2).argmax(1).tolist()
    assert maps["layers"][0]["mamba_num_heads"] == [best[0], 2 + best[1]]


def test_a_depth_pruned_checkpoint_is_the_teacher_without_its_first_removed(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    result = run(DEPTH, inputs, tmp_path, ONE)
    order = [i for i in Importance.read(inputs["importance"][0], CONFIG).removal_order() if i != 1]
    removed = sorted(order[:2])
    assert [layer["layer"] for layer in result.summary["layers_removed"]] == removed
    teacher = load_checkpoint(inputs["teacher"][0])
    student = load_checkpoint(tmp_path)
    assert student.config.pattern == "".join(letter for i, letter in enumerate(CONFIG.pattern) if i not in removed)
    assert student.config.pattern.count("*") == 1
    teacher.backbone.layers = torch.nn.ModuleList(
        layer for i, layer in enumerate(teacher.backbone.layers) if i not in removed
    )
    assert torch.allclose(logits(student), logits(teacher), rtol=1e-4, atol=1e-5)
    assert student.config.d_model == CONFIG.d_model


def test_nothing_cut_is_the_teacher_in_another_order(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    result = run(PruneConfig(), inputs, tmp_path, ONE)
    failed = [check for check in result.checks if not check.passed]
    assert [(check.name, check.blocking) for check in failed] == [("smaller", False)]
    teacher, same = logits(load_checkpoint(inputs["teacher"][0])), logits(load_checkpoint(tmp_path))
    assert float((same - teacher).abs().max() / teacher.abs().max()) < 1e-5
    maps = json.loads((tmp_path / "index_maps.json").read_text())
    assert sorted(maps["d_model"]) == list(range(32)) != maps["d_model"]


def test_equal_runs_write_equal_bytes_also_over_leftovers(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / ".model.safetensors.tmp").write_bytes(b"killed")
    found = []
    for name in ("first", "second"):
        run(WIDTH, inputs, tmp_path / name, ONE)
        found.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert found[0] == found[1]


def test_transformers_reads_the_pruned_checkpoint(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    both = PruneConfig(width=WIDTH.width, depth=DEPTH.depth)
    run(both, inputs, tmp_path, ONE)
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = torch.randint(320, (2, 33), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.eval()(ids, use_cache=False).logits
    own = logits(load_checkpoint(tmp_path))
    assert float((own - expected).abs().max() / expected.abs().max()) < 1e-5


def test_scores_of_mamba_heads_can_be_chosen(inputs: dict[str, list[Path]]) -> None:
    importance = Importance.read(inputs["importance"][0], CONFIG)
    tensors = dict(importance.tensors)
    tensors["layers.0.mamba_contribution"] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    tensors["layers.0.mamba_x"] = torch.tensor([4.0, 3.0, 2.0, 1.0])[:, None].expand(4, 8)
    kept = {
        name: plan(
            CONFIG, PruneConfig(width=WidthTarget(mamba_num_heads=2), mamba_head_score=name), Importance(tensors)
        )[1]
        .layers[0]
        .axes["mamba_num_heads"]
        for name in ("contribution", "x_score")
    }
    assert kept == {"contribution": (1, 3), "x_score": (0, 2)}


def test_shares_are_rounded_down_to_valid_sizes() -> None:
    parent = replace(CONFIG, d_model=100, intermediate_size=50, mamba_num_heads=12, n_groups=4, mamba_head_dim=6)
    target = resolve_width(
        parent,
        WidthTarget(
            d_model=0.83, intermediate_size=0.05, mamba_num_heads=0.9, mamba_head_dim=1.0, num_attention_heads=0.1
        ),
    )
    assert (target.d_model, target.intermediate_size) == (80, 2)
    assert (target.mamba_num_heads, target.mamba_head_dim, target.num_attention_heads) == (8, 6, 2)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (WidthTarget(d_model=64), "d_model: 64 is more than the parent's 32"),
        (WidthTarget(mamba_num_heads=3), "mamba_num_heads (3) must be a multiple of n_groups (2)"),
        (WidthTarget(num_attention_heads=3), "num_attention_heads (3) must be a multiple of num_key_value_heads (2)"),
    ],
)
def test_a_width_that_cannot_be_cut_is_refused(width: WidthTarget, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        resolve_width(CONFIG, width)


@pytest.mark.parametrize(
    "make",
    [
        lambda: WidthTarget(d_model=0),
        lambda: WidthTarget(d_model=1.5),
        lambda: DepthTarget(num_layers=0),
        lambda: DepthTarget(keep={"X": 1}),
        lambda: DepthTarget(keep={"M": -1}),
        lambda: PruneConfig(layer_score="best"),  # type: ignore[arg-type]
    ],
)
def test_a_config_that_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(InputError):
        make()


@given(
    st.text("M-*", min_size=2, max_size=12),
    st.randoms(use_true_random=False),
    st.dictionaries(st.sampled_from("M-*"), st.integers(0, 4)),
    st.none() | st.integers(1, 12),
)
def test_layers_that_stay_meet_the_numbers(pattern: str, random: Any, keep: dict[str, int], total: int | None) -> None:
    order = list(range(len(pattern)))
    random.shuffle(order)
    have = Counter(pattern)
    fixed = sum(keep.values())
    others = sum(count for kind, count in have.items() if kind not in keep)
    wanted = fixed + others if total is None else total
    possible = all(count <= have[kind] for kind, count in keep.items()) and fixed <= wanted <= fixed + others
    if not possible or wanted == 0:
        with pytest.raises(InputError, match=r"PruneConfig\.depth"):
            resolve_layers(pattern, DepthTarget(num_layers=total, keep=keep), order)
        return
    kept = resolve_layers(pattern, DepthTarget(num_layers=total, keep=keep), order)
    assert kept == sorted(kept)
    assert len(kept) == wanted
    counts = Counter(pattern[index] for index in kept)
    assert {kind: counts[kind] for kind in keep} == keep
    for removed in set(order) - set(kept):  # nothing of the same freedom that was to go earlier stayed
        same = [i for i in kept if pattern[i] == pattern[removed] or not {pattern[i], pattern[removed]} & set(keep)]
        assert all(order.index(removed) < order.index(i) for i in same)


def test_importance_of_another_teacher_is_refused(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    other: HybridConfig = replace(CONFIG, d_model=40)
    save_checkpoint(HybridLM.create(other, seed=0), tmp_path / "other")
    with pytest.raises(InputError, match=r"d_model has shape \(32,\), this teacher needs \(40,\)"):
        run(WIDTH, {**inputs, "teacher": [tmp_path / "other"]}, tmp_path / "out", ONE)
    with pytest.raises(InputError, match="holds no tokenizer"):
        run(WIDTH, {**inputs, "tokenizer": [tmp_path]}, tmp_path / "out", ONE)
