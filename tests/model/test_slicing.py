"""Sorting and slicing against masking: whatever is cut must equal the parent with those channels silenced."""

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.cache import DecodeCache
from model.config import HybridConfig
from model.hybrid import HybridLM
from model.mamba2 import Mamba2Mixer
from model.slicing import (
    GROUPS,
    LAYER_AXES,
    WIDTH_AXES,
    IndexMaps,
    WidthScores,
    child_config,
    gather_model,
    identity_maps,
    layer_view,
    prefix_maps,
    slice_model,
    sort_maps,
    sort_model,
    validate_target,
)
from tests.model.common import LATENT_MOE, MOE, MTP

VOCAB = 61
FEW = settings(max_examples=12, deadline=None, derandomize=True)


@st.composite
def configs(draw: st.DrawFn) -> HybridConfig:
    kinds = draw(st.lists(st.sampled_from("M-*"), min_size=0, max_size=4))
    kv_heads, n_groups = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2, 3]))
    return HybridConfig(
        pattern="".join(draw(st.permutations(["M", "-", "*", *kinds]))),
        vocab_size=VOCAB,
        d_model=draw(st.sampled_from([12, 16])),
        intermediate_size=draw(st.sampled_from([8, 20])),
        num_attention_heads=kv_heads * draw(st.sampled_from([2, 3])),
        num_key_value_heads=kv_heads,
        head_dim=draw(st.sampled_from([2, 5])),
        mamba_num_heads=n_groups * draw(st.sampled_from([2, 4])),
        mamba_head_dim=draw(st.sampled_from([2, 6])),
        ssm_state_size=draw(st.sampled_from([3, 8])),
        n_groups=n_groups,
        conv_kernel=draw(st.sampled_from([2, 4])),
        chunk_size=8,
        tie_word_embeddings=draw(st.booleans()),
        attention_norm=draw(st.sampled_from(["none", "qk"])),
    )


def random_model(config: HybridConfig, seed: int = 0) -> HybridLM:
    """float64, every parameter random and none of them neutral, so that no permutation can hide."""
    model = HybridLM.create(config, seed=seed).cast(torch.float64)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "A_log" not in name:
                parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64) + 0.5)
            elif parameter.ndim == 2:
                std = 1.0 if "embeddings" in name else 2 / math.sqrt(parameter.shape[1])
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * std)
    return model


def random_scores(config: HybridConfig, seed: int = 0) -> WidthScores:
    generator = torch.Generator().manual_seed(seed)
    return WidthScores(
        d_model=torch.rand(config.d_model, generator=generator),
        layers=[
            {axis: torch.rand(getattr(config, axis), generator=generator) for axis in LAYER_AXES[letter]}
            for letter in config.pattern
        ],
    )


def smaller(config: HybridConfig, axis: str, data: st.DataObject | None = None) -> HybridConfig:
    """`config` with `axis` cut to a valid smaller size (half, or as drawn)."""
    unit = getattr(config, GROUPS[axis]) if axis in GROUPS else 1
    most = getattr(config, axis) // unit
    kept = max(1, most // 2) if data is None else data.draw(st.integers(1, most))
    return replace(config, **{axis: kept * unit})


def tokens(length: int = 19, batch: int = 2) -> Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def logits(model: HybridLM, ids: Tensor | None = None) -> Tensor:
    return model(tokens() if ids is None else ids)


def difference(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max() / right.abs().max())


@torch.no_grad()
def mask_prefix(model: HybridLM, target: HybridConfig) -> None:
    """Silence in place what a prefix slice cuts, by zeros in weights and the masked-norm rule: where a norm averages
    over a share rho of live channels, its eps becomes eps * rho and its weight is multiplied by sqrt(rho)."""
    config = model.config
    rho = target.d_model / config.d_model
    model.backbone.embeddings.weight[:, target.d_model :] = 0
    model.lm_head.weight[:, target.d_model :] = 0
    layers: list[Any] = list(model.backbone.layers)
    for norm in (model.backbone.norm_f, *(layer.norm for layer in layers)):
        norm.eps *= rho
        norm.weight.mul_(math.sqrt(rho))
    for mixer, letter in zip((layer.mixer for layer in layers), config.pattern, strict=True):
        if letter == "E":
            mixer.shared_experts.down_proj.weight[target.d_model :] = 0
            if mixer.latent:
                mixer.fc2_latent_proj.weight[target.d_model :] = 0
            else:
                mixer.experts.down_proj[:, target.d_model :] = 0
        elif letter == "-":
            mixer.down_proj.weight[:, target.intermediate_size :] = 0
            mixer.down_proj.weight[target.d_model :] = 0
        elif letter == "*":
            kv = config.num_key_value_heads
            columns = mixer.o_proj.weight.unflatten(1, (kv, config.num_attention_heads // kv, config.head_dim))
            columns[:, :, target.num_attention_heads // kv :] = 0
            mixer.o_proj.weight[target.d_model :] = 0
        else:
            groups = config.n_groups
            gate = mixer.in_proj.weight[: config.d_inner].unflatten(
                0, (groups, config.mamba_num_heads // groups, config.mamba_head_dim)
            )
            gate[:, target.mamba_num_heads // groups :] = 0
            gate[:, :, target.mamba_head_dim :] = 0
            share = target.d_inner / config.d_inner
            mixer.norm.eps *= share
            mixer.norm.weight.mul_(math.sqrt(share))
            mixer.out_proj.weight[target.d_model :] = 0


@FEW
@given(configs(), st.integers(0, 99))
def test_sorting_inside_groups_keeps_the_function(config: HybridConfig, seed: int) -> None:
    model = random_model(config, seed)
    sorted_model, maps = sort_model(model, random_scores(config, seed))
    assert difference(logits(sorted_model), logits(model)) < 1e-10
    assert sorted_model.config == config
    assert sorted(maps.d_model) == list(range(config.d_model))
    assert maps.d_model != tuple(range(config.d_model))


@pytest.mark.parametrize(("axis", "letter"), [("mamba_num_heads", "M"), ("num_attention_heads", "*")])
def test_a_sort_across_groups_changes_the_function(axis: str, letter: str) -> None:
    config = HybridConfig(
        pattern="M-*",
        vocab_size=VOCAB,
        d_model=16,
        intermediate_size=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        mamba_num_heads=4,
        mamba_head_dim=4,
        ssm_state_size=8,
        n_groups=2,
    )
    model = random_model(config)
    maps = identity_maps(config)
    position = config.pattern.index(letter)

    def swapped(order: tuple[int, ...]) -> Tensor:
        layer = replace(maps.layers[position], axes={**maps.layers[position].axes, axis: order})
        layers = (*maps.layers[:position], layer, *maps.layers[position + 1 :])
        return logits(gather_model(model, replace(maps, layers=layers)))

    assert difference(swapped((1, 0, 3, 2)), logits(model)) < 1e-10
    assert difference(swapped((0, 2, 1, 3)), logits(model)) > 1e-3


@FEW
@given(st.data(), configs(), st.integers(0, 99))
def test_masked_equals_sliced_on_any_axes(data: st.DataObject, config: HybridConfig, seed: int) -> None:
    target = config
    for axis in data.draw(st.sets(st.sampled_from(WIDTH_AXES), min_size=1, max_size=3)):
        target = smaller(target, axis, data)
    model, _ = sort_model(random_model(config, seed), random_scores(config, seed))
    sliced, _ = slice_model(model, target)
    mask_prefix(model, target)
    assert sliced.config == target
    assert difference(logits(sliced), logits(model)) < 1e-10


@pytest.mark.parametrize("axis", WIDTH_AXES)
def test_masked_equals_sliced_in_cached_decoding(axis: str) -> None:
    config = HybridConfig(
        pattern="M*-M",
        vocab_size=VOCAB,
        d_model=16,
        intermediate_size=12,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        mamba_num_heads=8,
        mamba_head_dim=4,
        ssm_state_size=8,
        n_groups=2,
        chunk_size=8,
    )
    model = random_model(config)
    target = smaller(config, axis)
    sliced, _ = slice_model(model, target)
    assert difference(logits(sliced), logits(model)) > 1e-3
    mask_prefix(model, target)
    ids = tokens(14)
    found = []
    with torch.no_grad():
        for network in (sliced, model):
            cache = DecodeCache.empty(network.config, 2, dtype=torch.float64)
            steps = [network(ids[:, :9], cache=cache)]
            steps += [network(ids[:, at : at + 1], cache=cache) for at in range(9, 14)]
            found.append(torch.cat(steps, dim=1))
    assert difference(found[0], found[1]) < 1e-10
    assert difference(found[0], logits(sliced, ids)) < 1e-10


@FEW
@given(configs())
def test_a_mixer_of_the_slice_norms_over_its_own_groups(config: HybridConfig) -> None:
    target = smaller(smaller(config, "mamba_num_heads"), "mamba_head_dim")
    sliced, _ = slice_model(random_model(config), target)
    mixers = [module for module in sliced.modules() if isinstance(module, Mamba2Mixer)]
    assert {mixer.norm.group_size for mixer in mixers} == {target.d_inner // config.n_groups}


@FEW
@given(st.data(), configs(), st.integers(0, 99))
def test_a_slice_of_a_slice_is_the_slice(data: st.DataObject, config: HybridConfig, seed: int) -> None:
    middle = config
    for axis in WIDTH_AXES:
        middle = smaller(middle, axis, data)
    small = middle
    for axis in WIDTH_AXES:
        small = smaller(small, axis, data)
    layers = sorted(data.draw(st.sets(st.integers(0, config.num_layers - 1), min_size=1)))
    inner = sorted(data.draw(st.sets(st.integers(0, len(layers) - 1), min_size=1)))
    middle = replace(middle, pattern="".join(config.pattern[index] for index in layers))
    small = replace(small, pattern="".join(middle.pattern[index] for index in inner))

    teacher = random_model(config, seed)
    sorted_model, order = sort_model(teacher, random_scores(config, seed))
    first, first_maps = slice_model(sorted_model, middle, layers)
    second, second_maps = slice_model(first, small, inner)
    direct, direct_maps = slice_model(sorted_model, small, [layers[index] for index in inner])

    assert first_maps.then(second_maps) == direct_maps
    from_teacher = gather_model(teacher, order.then(first_maps).then(second_maps))
    for name, tensor in direct.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name
        assert torch.equal(from_teacher.state_dict()[name], tensor), name


@FEW
@given(configs())
def test_a_full_slice_is_the_identity_and_shares_nothing(config: HybridConfig) -> None:
    model = random_model(config)
    copy, maps = slice_model(model, config)
    assert maps == identity_maps(config)
    own = {tensor.data_ptr() for tensor in model.parameters()}
    for name, tensor in copy.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
        assert tensor.data_ptr() not in own
    assert (copy.lm_head.weight is copy.backbone.embeddings.weight) == config.tie_word_embeddings


@FEW
@given(st.data(), configs())
def test_parameters_are_those_of_the_configuration(data: st.DataObject, config: HybridConfig) -> None:
    target = config
    for axis in WIDTH_AXES:
        target = smaller(target, axis, data)
    sliced, maps = slice_model(random_model(config), target)
    assert sum(parameter.numel() for parameter in sliced.parameters()) == target.num_params()
    assert child_config(config, maps) == target
    assert IndexMaps.from_json(maps.to_json()) == maps


def test_sorted_order_is_by_score_inside_groups_and_stable() -> None:
    config = HybridConfig(
        pattern="*M",
        vocab_size=VOCAB,
        d_model=4,
        intermediate_size=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=2,
        mamba_num_heads=4,
        mamba_head_dim=3,
        ssm_state_size=4,
        n_groups=2,
    )
    scores = WidthScores(
        d_model=torch.tensor([0.0, 3.0, 3.0, 5.0]),
        layers=[
            {"num_attention_heads": torch.tensor([1.0, 2.0, 3.0, 9.0, 7.0, 8.0])},
            {"mamba_num_heads": torch.tensor([1.0, 4.0, 2.0, 2.0])},
        ],
    )
    maps = sort_maps(config, scores)
    assert maps.d_model == (3, 1, 2, 0)
    assert maps.layers[0].axes["num_attention_heads"] == (2, 1, 0, 3, 5, 4)
    assert maps.layers[1].axes == {"mamba_num_heads": (1, 0, 2, 3), "mamba_head_dim": (0, 1, 2)}
    kept = maps.then(prefix_maps(config, replace(config, d_model=2, num_attention_heads=2, mamba_num_heads=2)))
    assert kept.d_model == (3, 1)
    assert kept.layers[0].axes["num_attention_heads"] == (2, 3)
    assert kept.layers[1].axes["mamba_num_heads"] == (1, 2)


@FEW
@given(st.data(), configs())
def test_dropping_layers_equals_skipping_them(data: st.DataObject, config: HybridConfig) -> None:
    layers = sorted(data.draw(st.sets(st.integers(0, config.num_layers - 1), min_size=1)))
    model = random_model(config)
    target = replace(config, pattern="".join(config.pattern[index] for index in layers))
    dropped, _ = slice_model(model, target, layers)
    with torch.no_grad():
        x_BLD = model.backbone.embeddings(tokens())
        for index in layers:
            x_BLD = model.backbone.layers[index](x_BLD)
        expected = model.lm_head(model.backbone.norm_f(x_BLD))
    assert torch.equal(logits(dropped), expected)
    assert torch.equal(logits(layer_view(model, layers)), expected)


@pytest.mark.parametrize("config", [MOE, LATENT_MOE])
def test_expert_layers_are_cut_in_d_model(config: HybridConfig) -> None:
    config = replace(config, vocab_size=VOCAB)
    model = random_model(config)
    sorted_model, maps = sort_model(model, random_scores(config))
    assert difference(logits(sorted_model), logits(model)) < 1e-10
    assert maps.d_model != tuple(range(config.d_model))
    target = replace(config, d_model=24)
    sliced, _ = slice_model(sorted_model, target)
    assert difference(logits(sliced), logits(sorted_model)) > 1e-3
    mask_prefix(sorted_model, target)
    assert difference(logits(sliced), logits(sorted_model)) < 1e-10


def test_multi_token_prediction_is_not_cut() -> None:
    with pytest.raises(ValueError, match=r"no rule to slice parameter mtp\.layers\.0"):
        sort_model(random_model(MTP), random_scores(MTP))


BASE = HybridConfig(
    pattern="M-*-",
    vocab_size=VOCAB,
    d_model=16,
    intermediate_size=8,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    mamba_num_heads=4,
    mamba_head_dim=4,
    ssm_state_size=8,
    n_groups=2,
)


@pytest.mark.parametrize(
    ("target", "layers", "message"),
    [
        (replace(BASE, d_model=32), None, "d_model: 32 is more than the parent's 16"),
        (replace(BASE, n_groups=1), None, "n_groups: 1 differs from the parent's 2"),
        (replace(BASE, ssm_state_size=4), None, "ssm_state_size: 4 differs"),
        (replace(BASE, num_key_value_heads=1), None, "num_key_value_heads: 1 differs"),
        (replace(BASE, vocab_size=60), None, "vocab_size: 60 differs"),
        (replace(BASE, pattern="M-*"), None, "pattern: the kept layers [0, 1, 2, 3] spell 'M-*-'"),
        (replace(BASE, pattern="M-"), [0, 2], "spell 'M*', the target has 'M-'"),
        (replace(BASE, pattern="M-"), [1, 0], "layers: [1, 0] must ascend"),
        (replace(BASE, pattern="M-"), [0, 4], "layers: [0, 4] must ascend"),
    ],
)
def test_a_target_that_cannot_be_cut_is_refused(target: HybridConfig, layers: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        validate_target(BASE, target, layers)


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"d_model: scores have shape \(3,\), expected \(16,\)"):
        sort_maps(BASE, WidthScores(d_model=torch.zeros(3)))
    with pytest.raises(ValueError, match=r"layer 1 \('-'\) has no axis \['mamba_num_heads'\]"):
        sort_maps(BASE, WidthScores(layers=[{}, {"mamba_num_heads": torch.zeros(4)}, {}, {}]))
    with pytest.raises(ValueError, match="not a number"):
        sort_maps(BASE, WidthScores(d_model=torch.full((16,), torch.nan)))
