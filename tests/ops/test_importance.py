"""Importance against a pass that knows no packing: each document alone, each score by its definition."""

import copy
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from model.checkpoint import save_checkpoint
from model.hybrid import HybridLM
from ops.errors import InputError
from ops.importance import run as stage
from ops.importance.activations import Statistics
from ops.importance.config import ImportanceConfig
from ops.importance.depth import CalibrationBatch, removal_errors, removal_losses
from ops.importance.scores import Importance, expected_shapes
from ops.stage import Execution
from tests.ops.training_inputs import tiny_model, write_inputs

ONE = Execution(threads=1)
CONFIG = replace(tiny_model(320, pattern="M*-M-"), num_attention_heads=4, num_key_value_heads=2, head_dim=8)


def random_teacher(seed: int = 3, **changes: Any) -> HybridLM:
    model = HybridLM.create(replace(CONFIG, **changes), seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.1)
    return model.eval()


def make_documents(lengths: Iterable[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(320, (length,), generator=generator) for length in lengths]


def pack(rows: list[list[Tensor]], *, pad_to: int | None = None) -> CalibrationBatch:
    """Rows of whole documents; padding gets a document number of its own and is not valid."""
    width = pad_to or max(sum(map(len, row)) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    labels = torch.full((len(rows), width), -100)
    seq_idx = torch.zeros(len(rows), width, dtype=torch.int32)
    valid = torch.zeros(len(rows), width, dtype=torch.bool)
    for index, row in enumerate(rows):
        at = 0
        for number, document in enumerate(row):
            end = at + len(document)
            ids[index, at:end] = document
            labels[index, at : end - 1] = document[1:]
            seq_idx[index, at:end] = number
            valid[index, at:end] = True
            at = end
        seq_idx[index, at:] = len(row)
    return CalibrationBatch(ids, labels, seq_idx, valid)


def scores_of(model: HybridLM, batches: list[CalibrationBatch]) -> dict[str, Tensor]:
    statistics = Statistics()
    for _ in stage.collect(model, statistics, batches):
        pass
    return statistics.finish()


@torch.no_grad()
def reference(model: HybridLM, documents: list[Tensor]) -> dict[str, Tensor]:
    """Every score by its definition, a document at a time."""
    config = model.config
    squares: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    for document in documents:
        x_LD = model.backbone.embeddings(document)[None]
        n = len(document)
        blocks: list[Any] = list(model.backbone.layers)
        for index, block in enumerate(blocks):
            name, letter = f"layers.{index}", config.pattern[index]
            normed, mixer = block.norm(x_LD), block.mixer
            seen = {"d_model": normed[0].abs()}
            bare = copy.deepcopy(mixer)
            bare.out_proj = bare.o_proj = bare.down_proj = nn.Identity()
            y_LI = bare(normed)[0]
            if letter == "-":
                seen["intermediate_size"] = torch.relu(normed[0] @ mixer.up_proj.weight.T) ** 2
            if letter == "*":
                seen["num_attention_heads"] = torch.stack([head.norm(dim=-1) for head in y_LI.split(8, dim=-1)], dim=1)
            if letter == "M":
                x_LI = (normed[0] @ mixer.in_proj.weight.T)[:, config.d_inner : 2 * config.d_inner]
                seen["mamba_x"] = x_LI.abs().reshape(n, 4, 8)
                per_head, per_channel = torch.zeros(4), torch.zeros(4, 8)
                for head in range(4):
                    columns = slice(8 * head, 8 * head + 8)
                    weight = mixer.out_proj.weight[:, columns]
                    per_head[head] = (y_LI[:, columns] @ weight.T).norm(dim=-1).sum()
                    for channel in range(8):
                        contribution = y_LI[:, 8 * head + channel, None] * weight[:, channel]
                        per_channel[head, channel] = contribution.norm(dim=-1).sum()
                sums[f"{name}.mamba_contribution"] = sums[f"{name}.mamba_contribution"] + per_head
                sums[f"{name}.mamba_channel_contribution"] = sums[f"{name}.mamba_channel_contribution"] + per_channel
            for statistic, value in seen.items():
                key = f"{name}.{statistic}"
                squares[key] = squares[key] + n * value.mean(0) ** 2
            out = block(x_LD)
            cosine = (x_LD * out).sum(-1) / (x_LD.norm(dim=-1) * out.norm(dim=-1))
            sums[f"{name}.block_influence"] = sums[f"{name}.block_influence"] + (1 - cosine).sum()
            x_LD = out
    total = sum(map(len, documents))
    return {**{k: (v / total).sqrt() for k, v in squares.items()}, **{k: v / total for k, v in sums.items()}}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value.double(), rtol=tolerance, atol=tolerance * float(value.max())), name


def test_scores_are_those_of_the_documents_one_by_one() -> None:
    model, documents = random_teacher(), make_documents([7, 30, 1, 18, 25, 40])
    packed = [pack([documents[:3], documents[3:5]]), pack([documents[5:]])]
    assert_same(scores_of(model, packed), reference(model, documents), 1e-4)


def test_scores_depend_on_neither_split_order_packing_nor_padding() -> None:
    model = random_teacher().cast(torch.float64)
    documents = make_documents([7, 30, 1, 18, 25, 40])
    expected = scores_of(model, [pack([documents])])
    for batches in (
        [pack([[document]]) for document in documents],
        [pack([[document] for document in documents])],
        [pack([documents[3:], documents[:3]], pad_to=101)],
        [pack([documents[4:]]), pack([documents[:1], documents[1:4]])],
    ):
        assert_same(scores_of(model, batches), expected, 1e-11)


def test_what_does_nothing_scores_nothing() -> None:
    model = random_teacher()
    layers: list[Any] = list(model.backbone.layers)
    with torch.no_grad():
        layers[0].mixer.out_proj.weight[:, 8:16] = 0  # second head of the first Mamba-2 layer
        layers[2].mixer.up_proj.weight[5] = 0
        layers[3].mixer.out_proj.weight.zero_()
    batch = pack([make_documents([40, 24])])
    found = scores_of(model, [batch])
    assert found["layers.0.mamba_contribution"].argmin() == 1
    assert found["layers.0.mamba_contribution"][1] == 0
    assert found["layers.0.mamba_x"][1].min() > 0  # the x score cannot see it
    assert found["layers.2.intermediate_size"][5] == 0
    assert (found["layers.2.intermediate_size"] > 0).sum() >= 40
    assert abs(float(found["layers.3.block_influence"])) < 1e-6
    assert removal_errors(model, range(5), [3, 0], [batch])[0] == 0
    loss, losses = removal_losses(model, [3], [batch])
    assert losses == [loss]


def test_layer_errors_are_those_of_the_logits() -> None:
    model = random_teacher().cast(torch.float64)
    documents = make_documents([20, 33, 9, 15])
    batches = [pack([documents[:2]]), pack([documents[2:3], documents[3:]])]
    kept, candidates = [0, 1, 2, 4], [1, 4]

    @torch.no_grad()
    def logits(layers: list[int], document: Tensor) -> Tensor:
        x_LD = model.backbone.embeddings(document)[None]
        for index in layers:
            x_LD = model.backbone.layers[index](x_LD)
        return model.lm_head(model.backbone.norm_f(x_LD))[0]

    whole = list(range(5))
    for candidate, error in zip(candidates, removal_errors(model, kept, candidates, batches), strict=True):
        without = [index for index in kept if index != candidate]
        above = sum(float((logits(whole, d) - logits(without, d)).square().sum()) for d in documents)
        assert error == pytest.approx(above / sum(float(logits(whole, d).square().sum()) for d in documents), rel=1e-9)
    loss, losses = removal_losses(model, candidates, batches)
    for value, left_out in zip([loss, *losses], [None, *candidates], strict=True):
        layers = [index for index in whole if index != left_out]
        nats = [-logits(layers, d).log_softmax(-1)[:-1].gather(1, d[1:, None]) for d in documents]
        assert value == pytest.approx(float(torch.cat(nats).mean()), rel=1e-9)


def test_scoring_leaves_no_hooks() -> None:
    model = random_teacher()
    scores_of(model, [pack([make_documents([5])])])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


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


def test_fewer_steps_rank_the_rest_by_their_last_error(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    stage.run(replace(SMALL, depth_steps=1), inputs, tmp_path, ONE)
    importance = Importance.read(tmp_path, CONFIG)
    assert importance.removal_order("iterative_mse") == importance.removal_order("logit_mse")


@pytest.mark.parametrize("killed_at", [1, 5, 7, 9])
def test_a_killed_run_goes_on_to_the_same_bytes(
    inputs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr(stage, "BATCHES_PER_MARK", 2)
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

    with monkeypatch.context() as patch:
        patch.setattr(stage, "to_device", counted(stage.to_device))  # 6 batches of width, 2 of depth
        patch.setattr(stage, "removal_errors", counted(stage.removal_errors))
        with pytest.raises(KeyboardInterrupt):
            stage.run(SMALL, inputs, tmp_path / "killed", ONE)
    first = stage.calibration
    steps = []
    monkeypatch.setattr(stage, "calibration", lambda *args: steps.append(args[3:]) or first(*args))
    stage.run(SMALL, inputs, tmp_path / "killed", ONE)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert steps[0] == ({1: 0, 5: 4}.get(killed_at, 6),)


def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    one_layer = random_teacher(pattern="M")
    save_checkpoint(one_layer, tmp_path / "short")
    with pytest.raises(InputError, match="one layer"):
        stage.run(SMALL, {**inputs, "teacher": [tmp_path / "short"]}, tmp_path / "out", ONE)
    save_checkpoint(random_teacher(num_nextn_predict_layers=1, mtp_hybrid_override_pattern="*-"), tmp_path / "mtp")
    with pytest.raises(InputError, match="has experts or multi-token prediction"):
        stage.run(SMALL, {**inputs, "teacher": [tmp_path / "mtp"]}, tmp_path / "out", ONE)
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


def test_the_x_score_counts_the_channels_that_stay() -> None:
    x_HP = torch.tensor([[9.0, 0.0, 4.0], [0.0, 8.0, 4.0]])
    config = replace(
        CONFIG, pattern="M", mamba_num_heads=2, mamba_head_dim=3, n_groups=1, num_attention_heads=2, d_model=1
    )
    importance = Importance(
        {
            "d_model": torch.ones(1),
            "layers.0.mamba_x": x_HP,
            "layers.0.mamba_contribution": torch.tensor([1.0, 2.0]),
            "layers.0.mamba_channel_contribution": torch.tensor([[1.0, 2.0, 3.0], [0.0, 2.0, 4.0]]),
        }
    )
    paper = importance.width_scores(config, mamba_head_score="x_score", mamba_head_dim=1).layers[0]
    assert paper["mamba_head_dim"].tolist() == pytest.approx([9, 8, math.sqrt(32)])
    assert paper["mamba_num_heads"].tolist() == [9, 0]
    ours = importance.width_scores(config).layers[0]
    assert ours["mamba_num_heads"].tolist() == [1, 2]
    assert ours["mamba_head_dim"].tolist() == pytest.approx([1, math.sqrt(8), 5])
