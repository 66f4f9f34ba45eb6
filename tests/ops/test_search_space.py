"""The space of a search, its rules, and costs, which are those of real networks."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from model.cache import DecodeCache
from model.hybrid import HybridLM
from model.presets import NEMOTRON_NANO_9B_V2, NEMOTRON_NANO_12B_V2, PRESETS
from ops.search.config import NANO_2_BUDGET, Budget, Rules, SearchConfig, Space
from ops.search.cost import costs, weight_bytes
from ops.search.space import broken_rule, enumerate_candidates
from tests.ops.search_inputs import TEACHER

MIXED = {
    "dense": TEACHER,
    "tied": replace(TEACHER, tie_word_embeddings=True, pattern="MM-*"),
    "experts": replace(
        TEACHER,
        pattern="ME*E",
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        moe_shared_expert_intermediate_size=8,
        routed_scaling_factor=1.5,
        num_nextn_predict_layers=1,
        mtp_hybrid_override_pattern="ME",
    ),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_memory_is_that_of_the_materialised_network_and_its_cache(name: str, dtype: str) -> None:
    config = MIXED[name]
    kind = getattr(torch, dtype)
    model = HybridLM.create(config, seed=0).cast(kind)
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    assert weight_bytes(config, kind.itemsize) == sum(tensor.nbytes for tensor in tensors.values())
    budget = Budget(parameters=1, context=40, batch=3, weights=dtype, kv_bytes=kind.itemsize)  # type: ignore[arg-type]
    cache = DecodeCache.empty(config, 3, max_length=40, dtype=kind)
    held = sum(
        value.nbytes
        for layer in cache.layers
        if layer is not None
        for value in vars(layer).values()
        if isinstance(value, torch.Tensor)
    )
    found = costs(config, budget)
    assert found["memory_bytes"] == weight_bytes(config, kind.itemsize) + held
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_nemotron_nano_2s_rule_lets_its_student_through_and_not_its_teacher() -> None:
    limit = NANO_2_BUDGET.memory_bytes
    assert isinstance(limit, int)
    assert costs(NEMOTRON_NANO_9B_V2, NANO_2_BUDGET)["memory_bytes"] < limit
    assert costs(NEMOTRON_NANO_12B_V2, NANO_2_BUDGET)["memory_bytes"] > limit


def test_the_space_of_nemotron_nano_2_holds_its_student() -> None:
    """62 layers to 56 with 4 of attention, then embedding and FFN: the shape that was published is a candidate."""
    teacher, student = NEMOTRON_NANO_12B_V2, NEMOTRON_NANO_9B_V2
    space = Space(
        width={
            "d_model": (4480, 4800, 5120),
            "intermediate_size": (13440, 15680, 20480),
            "mamba_num_heads": (112, 128),
        },
        num_layers=(56,),
        keep={"*": 4},
    )
    config = SearchConfig(space=space, budget=NANO_2_BUDGET)
    found = enumerate_candidates(teacher, config, list(range(teacher.num_layers)))
    assert found.combinations == 18 == len(found.candidates) + sum(found.rejected.values())
    by_label = {candidate.label: candidate for candidate in found.candidates}
    published = by_label["d4480-f15680-56of62"].target
    assert (published.d_model, published.intermediate_size) == (student.d_model, student.intermediate_size)
    assert published.pattern.count("*") == 4
    assert all(candidate.target.num_params() < teacher.num_params() for candidate in found.candidates)


def test_shares_are_those_of_the_teacher() -> None:
    space = Space(width={"d_model": (0.75,)}, num_layers=(0.8, 1.0), keep={"*": 1.0, "M": 0.5})
    config = SearchConfig(space=space, budget=Budget(memory_bytes=0.5, decode_ms=0.5))
    found = enumerate_candidates(TEACHER, config, [1, 3, 0, 2, 4])
    assert [candidate.label for candidate in found.candidates] == ["d24-4of5"]
    assert found.candidates[0].target.pattern == "M*--"
    assert found.rejected == {"cannot_be_cut": 1}  # one M less cannot leave all five
    assert config.budget.limits({"memory_bytes": 1001.0}) == {"memory_bytes": 500, "decode_ms": 0.5}


def test_rules() -> None:
    teacher = PRESETS["nemotron_h_8b"]
    space = Space(width={"d_model": (3072,), "intermediate_size": (12288,), "mamba_num_heads": (112,)})

    def broken(rules: Rules, **sizes: Any) -> str | None:
        return broken_rule(teacher, replace(teacher, **sizes), rules, space)

    small = {"d_model": 3072, "intermediate_size": 12288, "mamba_num_heads": 112}
    assert broken(Rules(), **small) is None
    assert broken(Rules(), mamba_num_heads=112) == "mamba_heads_from_cut"
    assert broken(Rules(), intermediate_size=12288, mamba_num_heads=112) == "narrow_d_model"
    assert broken(Rules(narrow_d_model=False), intermediate_size=12288, mamba_num_heads=112) is None
    assert broken(Rules(max_width_cut=0.2), **small) == "max_width_cut"
    assert broken(Rules(max_depth_cut=0.2), pattern=teacher.pattern[:40]) == "max_depth_cut"
    assert broken(Rules(multiples={"d_model": 1024}), **small) is None
    assert broken(Rules(multiples={"d_model": 2048}), **small) == "multiples"
    assert broken(Rules(excluded={"mamba_head_dim": (48,)}), **small, mamba_head_dim=48) == "excluded"
    assert broken(Rules(min_mamba_channels=8000), **small) == "min_mamba_channels"
