"""Slices that are refused, with an error that names what does not fit."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from model.config import HybridConfig
from model.slicing import (
    WidthScores,
    sort_maps,
    validate_target,
)
from tests.model.slicing_cases import (
    VOCAB,
    WHOLE,
)

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
        (replace(BASE, pattern="M*", intermediate_size=4), [0, 2], "intermediate_size: is 4 and not the parent's 8"),
        (replace(BASE, moe_latent_size=4), None, "moe_latent_size: 4 differs from the parent's None"),
        (
            replace(BASE, num_nextn_predict_layers=1, mtp_hybrid_override_pattern="*"),
            None,
            "num_nextn_predict_layers: 1",
        ),
    ],
)
def test_a_target_that_cannot_be_cut_is_refused(target: HybridConfig, layers: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        validate_target(BASE, target, layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_routed_experts": 14}, "n_routed_experts: 14 is more than the parent's 12"),
        ({"num_experts_per_tok": 2}, "num_experts_per_tok: 2 differs from the parent's 3; it is not cut"),
        ({"moe_latent_size": None}, "moe_latent_size: None differs from the parent's 8; it cannot be made or left out"),
        ({"mtp_hybrid_override_pattern": "*"}, "mtp_hybrid_override_pattern: '*' differs"),
    ],
)
def test_a_target_of_experts_that_cannot_be_cut_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        validate_target(WHOLE, replace(WHOLE, **change))
    with pytest.raises(ValueError, match=r"num_experts_per_tok \(3\) must not exceed the 2 experts"):
        replace(WHOLE, n_group=1, n_routed_experts=2)


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"d_model: scores have shape \(3,\), expected \(16,\)"):
        sort_maps(BASE, WidthScores(d_model=torch.zeros(3)))
    with pytest.raises(ValueError, match=r"layer 1 \('-'\) has no axis \['mamba_num_heads'\]"):
        sort_maps(BASE, WidthScores(layers=[{}, {"mamba_num_heads": torch.zeros(4)}, {}, {}]))
    with pytest.raises(ValueError, match="not a number"):
        sort_maps(BASE, WidthScores(d_model=torch.full((16,), torch.nan)))
