"""Sorting and slicing against masking: whatever is cut must equal the parent with those channels silenced."""

from collections.abc import Iterable
from dataclasses import replace

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
    width_axes,
)
from tests.model.slicing_cases import (
    VOCAB,
    WHOLE,
    anything_smaller,
    configs,
    difference,
    logits,
    mask_prefix,
    random_model,
    random_scores,
    smaller,
    tokens,
)

FEW = settings(max_examples=12)


@FEW
@given(configs(), st.integers(0, 99))
def test_sorting_inside_groups_keeps_the_function(config: HybridConfig, seed: int) -> None:
    model = random_model(config, seed)
    sorted_model, maps = sort_model(model, random_scores(config, seed))
    assert difference(logits(sorted_model), logits(model)) < 1e-10
    assert sorted_model.config == config
    assert sorted(maps.d_model) == list(range(config.d_model))
    assert maps.d_model != tuple(range(config.d_model))
    single = model.cast(torch.float32)
    expected = logits(single)
    assert (logits(gather_model(single, maps)) - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize(
    ("axis", "inside", "across"),
    [
        ("mamba_num_heads", (1, 0, 2, 3, 5, 4, 6, 7), (4, 1, 2, 3, 0, 5, 6, 7)),
        ("num_attention_heads", (1, 0, 3, 2), (0, 2, 1, 3)),
        ("n_routed_experts", (5, *range(1, 5), 0, *range(6, 12)), (6, *range(1, 6), 0, *range(7, 12))),
    ],
)
def test_a_sort_across_groups_changes_the_function(axis: str, inside: tuple[int, ...], across: tuple[int, ...]) -> None:
    config = replace(WHOLE, num_nextn_predict_layers=0)
    model = random_model(config)
    maps = identity_maps(config)
    (position, *_) = (index for index, layer in enumerate(maps.layers) if axis in layer.axes)

    def swapped(order: tuple[int, ...]) -> Tensor:
        own = maps.layers[position].axes
        axes = {**own, axis: order}
        if axis == "n_routed_experts":
            channels = own["moe_intermediate_size"]
            axes["moe_intermediate_size"] = tuple(c for e in order for c in channels[10 * e : 10 * e + 10])
        layer = replace(maps.layers[position], axes=axes)
        layers = (*maps.layers[:position], layer, *maps.layers[position + 1 :])
        return logits(gather_model(model, replace(maps, layers=layers)))

    assert difference(swapped(inside), logits(model)) < 1e-10
    assert difference(swapped(across), logits(model)) > 1e-3


@FEW
@given(st.data(), configs(), st.integers(0, 99))
def test_masked_equals_sliced_on_any_axes(data: st.DataObject, config: HybridConfig, seed: int) -> None:
    target = config
    for axis in data.draw(st.sets(st.sampled_from(width_axes(config)), min_size=1, max_size=4)):
        target = smaller(target, axis, data)
    model, _ = sort_model(random_model(config, seed), random_scores(config, seed))
    sliced, _ = slice_model(model, target)
    mask_prefix(model, target)
    assert sliced.config == target
    assert difference(logits(sliced), logits(model)) < 1e-10


AXES = width_axes(WHOLE)


@pytest.mark.parametrize("axis", AXES)
def test_masked_equals_sliced_in_prefill_and_cached_decoding(axis: str) -> None:
    """The axis alone, and with each of the others."""
    for other in AXES[AXES.index(axis) :]:
        target = smaller(WHOLE, axis)
        if other != axis:
            target = smaller(target, other)
        model = random_model(WHOLE)
        sliced, _ = slice_model(model, target)
        if other == axis:
            assert difference(logits(sliced), logits(model)) > 1e-3
        mask_prefix(model, target)
        assert difference(logits(sliced), logits(model)) < 1e-10, other
        assert difference(decoded(sliced), decoded(model)) < 1e-10, other
        assert difference(decoded(sliced), cut_at_once(sliced)) < 1e-10, other


IDS = tokens(14)


@torch.no_grad()
def cut_at_once(model: HybridLM) -> Tensor:
    return model(IDS)


@torch.no_grad()
def decoded(model: HybridLM) -> Tensor:
    """Nine tokens at once, the rest one by one."""
    cache = DecodeCache.empty(model.config, 2, dtype=torch.float64)
    steps = [model(IDS[:, :9], cache=cache)]
    steps += [model(IDS[:, at : at + 1], cache=cache) for at in range(9, 14)]
    return torch.cat(steps, dim=1)


@FEW
@given(configs())
def test_a_mixer_of_the_slice_norms_over_its_own_groups(config: HybridConfig) -> None:
    target = smaller(smaller(config, "mamba_num_heads"), "mamba_head_dim")
    sliced, _ = slice_model(random_model(config), target)
    mixers = [module for module in sliced.modules() if isinstance(module, Mamba2Mixer)]
    assert {mixer.norm.group_size for mixer in mixers} == {target.d_inner // config.n_groups}


def with_layers(config: HybridConfig, layers: Iterable[int]) -> HybridConfig:
    return replace(config, pattern="".join(config.pattern[index] for index in layers))


def inheriting(target: HybridConfig, parent: HybridConfig) -> HybridConfig:
    """`target` with the parent's sizes where none of its layers has the axis."""
    absent = set(width_axes(parent)) - set(width_axes(target))
    return replace(target, **{axis: getattr(parent, axis) for axis in absent})


@FEW
@given(st.data(), configs(), st.integers(0, 99))
def test_a_slice_of_a_slice_is_the_slice(data: st.DataObject, config: HybridConfig, seed: int) -> None:
    layers = sorted(data.draw(st.sets(st.integers(0, config.num_layers - 1), min_size=1)))
    inner = sorted(data.draw(st.sets(st.integers(0, len(layers) - 1), min_size=1)))
    middle = anything_smaller(with_layers(config, layers), data)
    small = with_layers(anything_smaller(middle, data), inner)
    if data.draw(st.booleans()):
        small = replace(small, num_nextn_predict_layers=0)
    small = inheriting(small, middle)

    teacher = random_model(config, seed)
    sorted_model, order = sort_model(teacher, random_scores(config, seed))
    first, first_maps = slice_model(sorted_model, middle, layers)
    second, second_maps = slice_model(first, small, inner)
    direct, direct_maps = slice_model(sorted_model, inheriting(small, config), [layers[index] for index in inner])

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
@given(st.data(), configs(), st.sampled_from([torch.float32, torch.bfloat16]), st.integers(1, 3), st.integers(1, 40))
def test_parameters_and_memory_are_those_of_the_configuration(
    data: st.DataObject, config: HybridConfig, dtype: torch.dtype, batch: int, context: int
) -> None:
    target = anything_smaller(config, data)
    sliced, maps = slice_model(random_model(config).cast(dtype), target)
    assert sum(parameter.numel() for parameter in sliced.parameters()) == target.num_params()
    assert child_config(config, maps) == target
    assert IndexMaps.from_json(maps.to_json()) == maps

    weights = [*sliced.parameters(), *sliced.buffers()]
    assert sum(tensor.nbytes for tensor in weights) == target.weight_bytes(param_bytes=dtype.itemsize)
    cache = DecodeCache.empty(target, batch, max_length=context, dtype=dtype)
    with torch.no_grad():
        sliced(tokens(context, batch), cache=cache)
    kept = {name: tensor for name, tensor in cache.tensors().items() if name != "padding_B"}
    assert sum(tensor.nbytes for tensor in (*weights, *kept.values())) == target.memory_bytes(
        context, batch, param_bytes=dtype.itemsize, kv_bytes=dtype.itemsize
    )


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
        expected = model.logits(model.backbone.norm_f(x_BLD))
        assert torch.equal(dropped(tokens()), expected)
        assert torch.equal(layer_view(model, layers)(tokens()), expected)


def test_experts_are_sorted_inside_groups_and_their_channels_inside_experts() -> None:
    config = replace(WHOLE, pattern="E", n_routed_experts=4, num_experts_per_tok=1, moe_intermediate_size=3)
    config = replace(config, moe_latent_size=None, num_nextn_predict_layers=0)
    channels = torch.tensor([[1.0, 3.0, 2.0], [9.0, 8.0, 7.0], [0.0, 0.0, 5.0], [1.0, 2.0, 3.0]])
    scores = WidthScores(
        layers=[{"n_routed_experts": torch.tensor([1.0, 2.0, 4.0, 3.0]), "moe_intermediate_size": channels}]
    )
    axes = sort_maps(config, scores).layers[0].axes
    assert axes["n_routed_experts"] == (1, 0, 2, 3)
    assert axes["moe_intermediate_size"] == (3, 4, 5, 1, 2, 0, 8, 6, 7, 11, 10, 9)
    target = replace(config, n_group=1, n_routed_experts=4, moe_intermediate_size=2)
    cut = sort_maps(config, scores).then(prefix_maps(config, replace(target, n_group=2))).layers[0].axes
    assert cut["moe_intermediate_size"] == (3, 4, 1, 2, 8, 6, 11, 10)
