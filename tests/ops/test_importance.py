"""Importance against a pass that knows no packing: each document alone, each score by its definition."""

import copy
import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model.hybrid import HybridLM
from model.slicing import layer_axes, sort_maps
from ops.importance.depth import removal_errors, removal_losses
from ops.importance.scores import Importance
from tests.ops.importance_inputs import CONFIG, EXPERTS, make_documents, pack, random_teacher, scores_of


@torch.no_grad()
def reference(model: HybridLM, documents: list[Tensor]) -> dict[str, Tensor]:
    """Every score by its definition, a document at a time."""
    config = model.config
    squares: dict[str, Any] = defaultdict(float)
    sums: dict[str, Any] = defaultdict(float)
    tokens: dict[str, int] = defaultdict(int)

    def see(name: str, letter: str, block: Any, x_LD: Tensor, end: int | None = None) -> Tensor:
        normed, mixer = block.norm(x_LD), block.mixer
        seen = {"d_model": normed[0]}
        bare = copy.deepcopy(mixer)
        bare.out_proj = bare.o_proj = bare.down_proj = nn.Identity()
        y_LI = bare(normed)[0]
        if letter == "-":
            seen["intermediate_size"] = torch.relu(normed[0] @ mixer.up_proj.weight.T) ** 2
        if letter == "*":
            seen["num_attention_heads"] = torch.stack([head.norm(dim=-1) for head in y_LI.split(8, dim=-1)], dim=1)
        if letter == "M":
            x_LI = (normed[0] @ mixer.in_proj.weight.T)[:, config.d_inner : 2 * config.d_inner]
            seen["mamba_x"] = x_LI.reshape(-1, 4, 8)
            per_head, per_channel = torch.zeros(4), torch.zeros(4, 8)
            for head in range(4):
                columns = slice(8 * head, 8 * head + 8)
                weight = mixer.out_proj.weight[:, columns]
                per_head[head] = (y_LI[:, columns] @ weight.T).norm(dim=-1).sum()
                for channel in range(8):
                    contribution = y_LI[:, 8 * head + channel, None] * weight[:, channel]
                    per_channel[head, channel] = contribution.norm(dim=-1).sum()
            sums[f"{name}.mamba_contribution"] += per_head
            sums[f"{name}.mamba_channel_contribution"] += per_channel
        if letter == "E":
            seen |= expert_values(mixer, normed[0], name, end)
        for statistic, value in seen.items():
            own = value[:end]
            if len(own):
                squares[f"{name}.{statistic}"] += len(own) * own.abs().mean(0) ** 2
        tokens[name] += len(x_LD[0, :end])
        return block(x_LD)

    def expert_values(mixer: Any, x_LD: Tensor, name: str, end: int | None) -> dict[str, Tensor]:
        experts = mixer.experts
        inner_LNM = torch.zeros(len(x_LD), config.n_routed_experts, config.moe_intermediate_size)
        latent_LX = x_LD if config.moe_latent_size is None else mixer.fc1_latent_proj(x_LD)
        y_LX = torch.zeros_like(latent_LX)
        found = {name: torch.zeros(config.n_routed_experts) for name in ("frequency", "norm", "weighted_norm")}
        for at, x_X in enumerate(latent_LX):
            scores_N = (x_LD[at] @ mixer.gate.weight.T).sigmoid()
            chosen = (scores_N + mixer.gate.e_score_correction_bias).topk(config.num_experts_per_tok).indices.tolist()
            for expert in chosen:
                weight = 2.5 * scores_N[expert] / scores_N[chosen].sum()
                inner_M = (experts.up_proj[expert] @ x_X).relu() ** 2
                output_X = experts.down_proj[expert] @ inner_M
                inner_LNM[at, expert] = weight * inner_M
                y_LX[at] += weight * output_X
                if end is None or at < len(x_LD) + end:
                    for statistic, value in (("frequency", 1), ("norm", output_X.norm())):
                        found[statistic][expert] += value
                    found["weighted_norm"][expert] += weight * output_X.norm()
        for statistic, value in found.items():
            sums[f"{name}.expert_{statistic}"] += value
        seen = {
            "moe_intermediate_size": inner_LNM,
            "moe_shared_expert_intermediate_size": (x_LD @ mixer.shared_experts.up_proj.weight.T).relu() ** 2,
        }
        if config.moe_latent_size is not None:
            seen |= {"moe_latent_input": latent_LX, "moe_latent_output": y_LX}
        return seen

    for document in documents:
        x_LD = model.backbone.embeddings(document)[None]
        blocks: list[Any] = list(model.backbone.layers)
        for index, block in enumerate(blocks):
            name = f"layers.{index}"
            out = see(name, config.pattern[index], block, x_LD)
            cosine = (x_LD * out).sum(-1) / (x_LD.norm(dim=-1) * out.norm(dim=-1))
            sums[f"{name}.block_influence"] += (1 - cosine).sum()
            x_LD = out
        h_LD = model.backbone.norm_f(x_LD)
        for depth in range(config.num_nextn_predict_layers):
            if len(document) < depth + 2:
                break
            assert model.mtp is not None
            first, last = layers = (list[Any](model.mtp.layers))[2 * depth : 2 * depth + 2]
            later = model.backbone.embeddings(torch.cat([document[depth + 1 :], document.new_zeros(depth + 1)]))[None]
            x_LD = first.join(later, h_LD)
            for at, layer in enumerate(layers):
                x_LD = see(f"mtp.{2 * depth + at}", config.mtp_pattern[2 * depth + at], layer, x_LD, -depth - 1)
            h_LD = last.final_layernorm(x_LD)

    def mean(name: str, value: Tensor) -> Tensor:
        return value / tokens[name.rpartition(".")[0]]

    return {**{k: mean(k, v).sqrt() for k, v in squares.items()}, **{k: mean(k, v) for k, v in sums.items()}}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value.double(), rtol=tolerance, atol=tolerance * float(value.max())), name


@pytest.mark.parametrize("changes", [{}, EXPERTS, {**EXPERTS, "moe_latent_size": 10}], ids=["dense", "moe", "latent"])
def test_scores_are_those_of_the_documents_one_by_one(changes: dict[str, Any]) -> None:
    model, documents = random_teacher(**changes), make_documents([7, 30, 1, 2, 18, 25, 40])
    packed = [pack([documents[:3], documents[3:6]]), pack([documents[6:]], pad_to=50)]
    assert_same(scores_of(model, packed), reference(model, documents), 1e-4)


@pytest.mark.parametrize("changes", [{}, EXPERTS], ids=["dense", "moe"])
def test_scores_depend_on_neither_split_order_packing_nor_padding(changes: dict[str, Any]) -> None:
    model = random_teacher(**changes).cast(torch.float64)
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


def test_experts_are_ranked_by_what_they_do_to_their_tokens() -> None:
    model = random_teacher(**EXPERTS, moe_latent_size=10)
    tensors = scores_of(model, [pack([make_documents([40, 24])])])
    tensors["layers.1.expert_frequency"] = torch.tensor([0.5, 0.1, 0.0, 0.2, 0.2, 0.0])
    tensors["layers.1.expert_norm"] = torch.tensor([1.0, 0.3, 0.0, 0.2, 0.4, 0.0])
    tensors["layers.1.expert_weighted_norm"] = torch.tensor([0.5, 0.2, 0.0, 0.3, 0.1, 0.0])
    importance = Importance({**tensors, "d_model": tensors["layers.0.d_model"]})
    expected = {
        "reap": [1.0, 2.0, 0.0, 1.5, 0.5, 0.0],
        "ean_mean": [2.0, 3.0, 0.0, 1.0, 2.0, 0.0],
        "weighted_ean_sum": [0.5, 0.2, 0.0, 0.3, 0.1, 0.0],
    }
    for score, values in expected.items():
        scores = importance.width_scores(model.config, expert_score=score)  # pyright: ignore[reportArgumentType]
        assert scores.layers[1]["n_routed_experts"].tolist() == pytest.approx(values), score
        sort_maps(model.config, scores)  # every axis has scores of its shape, those of multi-token prediction too
        assert [sorted(layer) for layer in scores.mtp] == [
            ["num_attention_heads"],
            sorted(layer_axes(model.config, "E")),
        ] * 2


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
