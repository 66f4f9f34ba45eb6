"""Merging of checkpoints, against a sum in numpy."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from assets.graph import build_graph
from model.checkpoint import load_checkpoint, save_checkpoint
from model.hybrid import HybridLM
from ops.atomic import read_json, write_json
from ops.errors import InputError
from ops.merge.config import MergeConfig
from ops.merge.run import run
from ops.stage import Execution
from tests.assets.tiny import tiny
from tests.model.common import LATENT_MOE, TINY, shake

EXECUTION = Execution(threads=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a run of 8 steps leaves that kept each second one, of networks with experts."""
    out = tmp_path_factory.mktemp("run")
    for step in (2, 4, 6, 8):
        folder = out if step == 8 else out / "checkpoints" / f"step-{step:08d}"
        save_checkpoint(shake(HybridLM.create(LATENT_MOE, seed=step)), folder)
    write_json(out / "result.json", {"result": {"counts": {"steps": 8}}})
    return out


@pytest.mark.parametrize("weights", ["minus_sqrt", "uniform", "ema"])
def test_the_average_is_exact(trained, tmp_path, weights):
    config = MergeConfig(num_checkpoints=3, every_steps=2, weights=weights, ema_decay=0.75)
    result = run(config, {"checkpoint": [trained]}, tmp_path, EXECUTION)
    assert all(check.passed for check in result.checks)
    merged = read_json(tmp_path / "merge.json")
    assert [row["step"] for row in merged["checkpoints"]] == [4, 6, 8]
    expected = {
        "minus_sqrt": [math.sqrt(1 / 3), math.sqrt(2 / 3) - math.sqrt(1 / 3), 1 - math.sqrt(2 / 3)],
        "uniform": [1 / 3] * 3,
        "ema": [0.75**2, 0.25 * 0.75, 0.25],
    }[weights]
    coefficients = [row["coefficient"] for row in merged["checkpoints"]]
    assert coefficients == pytest.approx(expected, rel=1e-12)
    files = [trained / "checkpoints" / f"step-{step:08d}" for step in (4, 6)] + [trained]
    parts = [load_file(folder / "model.safetensors") for folder in files]
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == parts[0].keys()
    assert any("e_score_correction_bias" in name for name in found)
    for name, tensor in found.items():
        total = sum(np.float64(c) * part[name].astype(np.float64) for c, part in zip(coefficients, parts, strict=True))
        assert np.array_equal(tensor, np.asarray(total).astype(np.float32)), name
    assert load_checkpoint(tmp_path).config == LATENT_MOE


@given(count=st.integers(1, 40), weights=st.sampled_from(["minus_sqrt", "uniform", "ema"]), decay=st.floats(0, 0.999))
def test_coefficients_add_up_to_one(count, weights, decay):
    found = MergeConfig(num_checkpoints=count, every_steps=1, weights=weights, ema_decay=decay).coefficients()
    assert len(found) == count
    assert min(found) >= 0
    assert sum(found) == pytest.approx(1, rel=1e-12)


def test_an_update_counts_as_under_a_decay():
    """The update after checkpoint k is in all later ones: 1 - sqrt of the share of the window before it."""
    found = MergeConfig(num_checkpoints=5, every_steps=1).coefficients()
    for k in range(5):
        assert sum(found[k:]) == pytest.approx(1 - math.sqrt(k / 5), rel=1e-12)


def test_an_earlier_window(trained, tmp_path):
    config = MergeConfig(num_checkpoints=2, every_steps=4, last_step=6)
    run(config, {"checkpoint": [trained]}, tmp_path, EXECUTION)
    assert [row["step"] for row in read_json(tmp_path / "merge.json")["checkpoints"]] == [2, 6]


def test_what_cannot_be_merged_is_named(trained, tmp_path):
    inputs = {"checkpoint": [trained]}
    with pytest.raises(InputError, match=r"after steps 5, 7 were not kept; there are those of 2, 4, 6 and of the end"):
        run(MergeConfig(num_checkpoints=4, every_steps=1), inputs, tmp_path, EXECUTION)
    with pytest.raises(InputError, match="5 checkpoints 2 steps apart up to step 8 do not lie within the 8 steps"):
        run(MergeConfig(num_checkpoints=5, every_steps=2), inputs, tmp_path, EXECUTION)
    with pytest.raises(InputError, match=r"holds no result\.json"):
        run(MergeConfig(every_steps=2), {"checkpoint": [tmp_path]}, tmp_path, EXECUTION)
    other = tmp_path / "run"
    save_checkpoint(HybridLM.create(LATENT_MOE, seed=0), other)
    save_checkpoint(HybridLM.create(TINY, seed=0), other / "checkpoints" / "step-00000002")
    write_json(other / "result.json", {"result": {"counts": {"steps": 4}}})
    with pytest.raises(InputError, match="is of another network"):
        run(MergeConfig(num_checkpoints=2, every_steps=2), {"checkpoint": [other]}, tmp_path, EXECUTION)


def test_the_recipe_asks_for_it():
    recipe = tiny()
    assert "merged_teacher" not in build_graph(recipe)
    merge = MergeConfig(num_checkpoints=3, every_steps=4)
    with pytest.raises(InputError, match="after steps 4, 8 were not kept"):
        dataclasses.replace(recipe, merge=merge)
    teacher = dataclasses.replace(recipe.teacher, keep_every_steps=4)
    graph = build_graph(dataclasses.replace(recipe, teacher=teacher, merge=merge))
    assert graph["merged_teacher"].deps == {"checkpoint": ("teacher",)}
    assert {"evaluation_merged_teacher", "export_merged_teacher"} <= graph.keys()
    assert "merged_teacher" in graph["family_report"].config.checkpoints
    with pytest.raises(InputError, match="keep_every_steps"):
        dataclasses.replace(recipe.teacher, keep_every_steps=0)
