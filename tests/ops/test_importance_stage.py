"""Importance as a stage: what it leaves, killed or divided, and what it refuses."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import save_checkpoint
from ops.errors import InputError
from ops.importance import run as stage
from ops.importance import width
from ops.importance.config import ImportanceConfig
from ops.importance.scores import Importance, expected_shapes
from ops.stage import Execution
from tests.ops.importance_inputs import CONFIG, EXPERTS, random_teacher
from tests.ops.training_inputs import write_inputs

ONE = Execution(threads=1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("importance")
    made = write_inputs(folder)
    save_checkpoint(random_teacher(), folder / "teacher")
    return {"teacher": [folder / "teacher"], "training_set": made["training_set"], "tokens": made["tokens"]}


SMALL = ImportanceConfig(num_samples=11, seq_len=48, batch_size=2, depth_num_samples=3)


def files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_the_artefact_holds_every_score(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    result = stage.run(SMALL, inputs, tmp_path, ONE)
    assert sorted(files(tmp_path)) == ["importance.json", "importance.safetensors"]
    assert all(check.passed for check in result.checks)
    assert result.counts == {"samples": 11, "tokens": 11 * 48, "layers": 5}
    tensors = load_file(tmp_path / "importance.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == expected_shapes(CONFIG)
    assert sorted(tensors["depth.removal_rank"].tolist()) == [0, 1, 2, 3, 4]
    assert torch.equal(tensors["d_model"], torch.stack([tensors[f"layers.{i}.d_model"] for i in range(5)]).sum(0))
    importance = Importance.read(tmp_path, CONFIG)
    first = importance.removal_order("iterative_mse")[0]
    assert first == importance.removal_order("logit_mse")[0]
    assert first == int(tensors["depth.logit_mse"].argmin())


def test_a_teacher_with_experts_and_multi_token_prediction_is_scored(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    teacher = random_teacher(**EXPERTS, moe_latent_size=10)
    save_checkpoint(teacher, tmp_path / "teacher")
    result = stage.run(SMALL, {**inputs, "teacher": [tmp_path / "teacher"]}, tmp_path / "out", ONE)
    assert all(check.passed for check in result.checks)
    assert result.summary["layers"][1]["expert_weighted_norm_largest_over_mean"] > 1
    Importance.read(tmp_path / "out", teacher.config)


def test_fewer_steps_rank_the_rest_by_their_last_error(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    stage.run(replace(SMALL, depth_steps=1), inputs, tmp_path, ONE)
    importance = Importance.read(tmp_path, CONFIG)
    assert importance.removal_order("iterative_mse") == importance.removal_order("logit_mse")


@pytest.mark.parametrize("killed_at", [1, 5, 7, 9])
def test_a_killed_run_goes_on_to_the_same_bytes(
    inputs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr(width, "SEGMENT", 2)
    stage.run(SMALL, inputs, tmp_path / "whole", ONE)
    done = 0

    def counted(function: Any) -> Any:
        def call(*args: Any) -> Any:
            nonlocal done
            done += 1
            if done == killed_at:
                raise KeyboardInterrupt
            return function(*args)

        return call

    with monkeypatch.context() as patch:  # 6 batches of width, 2 of depth
        for module in (width, stage):
            patch.setattr(module, "to_device", counted(module.to_device))
        patch.setattr(stage, "removal_errors", counted(stage.removal_errors))
        with pytest.raises(KeyboardInterrupt):
            stage.run(SMALL, inputs, tmp_path / "killed", ONE)
    made = []
    monkeypatch.setattr(width, "to_device", lambda *args: made.append(args) or stage.to_device(*args))
    stage.run(SMALL, inputs, tmp_path / "killed", ONE)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert len(made) == {1: 6, 5: 2}.get(killed_at, 0), "batches of finished segments are not passed again"


def test_the_work_of_another_pass_is_refused(
    inputs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(stage, "removal_losses")
        with pytest.raises(NameError):
            stage.run(SMALL, inputs, tmp_path, ONE)
    with pytest.raises(InputError, match="another configuration; use another output directory"):
        stage.run(replace(SMALL, seed=1), inputs, tmp_path, ONE)


def test_two_processes_find_the_same_bytes(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    stage.run(SMALL, inputs, tmp_path / "one", ONE)
    given = [f"--input={name}={path}" for name, paths in inputs.items() for path in paths]
    config = ["--num-samples=11", "--seq-len=48", "--batch-size=2", "--depth-num-samples=3"]
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "ops.importance"]
    subprocess.run(
        [sys.executable, *command, f"--out={tmp_path / 'two'}", "--threads=1", *given, *config],
        check=True,
        capture_output=True,
    )
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    one_layer = random_teacher(pattern="M")
    save_checkpoint(one_layer, tmp_path / "short")
    with pytest.raises(InputError, match="one layer"):
        stage.run(SMALL, {**inputs, "teacher": [tmp_path / "short"]}, tmp_path / "out", ONE)
    save_checkpoint(random_teacher(vocab_size=300), tmp_path / "narrow")
    with pytest.raises(InputError, match="vocabulary has 300 entries, the tokens need 320"):
        stage.run(SMALL, {**inputs, "teacher": [tmp_path / "narrow"]}, tmp_path / "out", ONE)
    with pytest.raises(InputError, match="depth_num_samples: 16 of only 4"):
        ImportanceConfig(num_samples=4)
    stage.run(SMALL, inputs, tmp_path / "scores", ONE)
    with pytest.raises(InputError, match=r"layers\.2\.intermediate_size has shape \(48,\)"):
        Importance.read(tmp_path / "scores", replace(CONFIG, intermediate_size=64))
    with pytest.raises(InputError, match=r"not a readable importance file"):
        Importance.read(tmp_path, CONFIG)
