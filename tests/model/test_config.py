"""Validation and counts of configurations."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.config import HybridConfig, width_scaled_std
from model.hf_config import to_hf
from model.hybrid import HybridLM
from model.presets import PRESETS
from tests.model.common import MOE, MTP, OWN, TINY, VARIANTS

ROOT = Path(__file__).resolve().parents[2]

# Published totals in units of 1e9 parameters.
PUBLISHED = {
    "nemotron_h_8b": 8.10,
    "nemotron_h_56b": 56.32,
    "nemotron_h_47b": 46.79,
    "nemotron_nano_12b_v2": 12.31,
    "nemotron_nano_9b_v2": 8.89,
    "nemotron_3_nano_4b": 3.97,
}
# Totals and active parameters (without the table of embeddings) of the models with experts, with the digits that
# are published: "31.6B total, 3.2B active (3.6B with embeddings)", "120.6B", "120B-A12B", "550B total, 55B active".
PUBLISHED_EXPERTS = {
    "nemotron_3_nano_30b_a3b": (31.6, 3.2),
    "nemotron_3_super_120b_a12b": (120.6, 12),
    "nemotron_3_ultra_550b_a55b": (550, 55),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_totals(name):
    config = PRESETS[name]
    assert round(config.num_params() / 1e9, 2) == PUBLISHED[name]
    embeddings = config.vocab_size * config.d_model
    assert config.num_active_params() == config.num_params() - embeddings


@pytest.mark.parametrize("name", PUBLISHED_EXPERTS)
def test_published_totals_of_models_with_experts(name):
    config = PRESETS[name]
    for count, published in zip(
        (config.num_params() - config.mtp_params(), config.num_active_params()), PUBLISHED_EXPERTS[name], strict=True
    ):
        # To within one unit of the last digit: the reports cut as often as they round.
        assert abs(count / 1e9 - published) < (0.1 if isinstance(published, float) else 1), count


def test_every_published_model_has_a_preset():
    assert {*PUBLISHED, *PUBLISHED_EXPERTS, "nemotron_h_4b"} == set(PRESETS)
    nano = PRESETS["nemotron_3_nano_30b_a3b"]
    assert round((nano.num_active_params() + nano.vocab_size * nano.d_model) / 1e9, 1) == 3.6


@pytest.mark.parametrize("name", [*PRESETS, *VARIANTS, *OWN])
def test_num_params_is_what_the_network_has(name):
    config = {**PRESETS, **VARIANTS, **OWN}[name]
    with torch.device("meta"):
        model = HybridLM(config)
    assert sum(p.numel() for p in model.parameters()) == config.num_params()


def test_initialisation_rule_gives_the_published_deviations():
    for name in ("nemotron_h_8b", "nemotron_h_56b", "nemotron_nano_12b_v2"):
        config = PRESETS[name]
        assert width_scaled_std(config.d_model) == pytest.approx(config.initializer_range, rel=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mamba_num_heads": 5}, r"mamba_num_heads \(5\) must be a multiple of n_groups \(2\)"),
        (
            {"num_attention_heads": 3},
            r"num_attention_heads \(3\) must be a multiple of num_key_value_heads \(2\)",
        ),
        ({"pattern": "M-X"}, r"pattern: unknown letter 'X' at position 2; known: 'M' Mamba-2, '-' .*, '\*'"),
        ({"pattern": "ME"}, "n_routed_experts must be a positive integer in a network with experts, got 0"),
        ({"pattern": ""}, "pattern must name at least one layer"),
        ({"d_model": 0}, "d_model must be a positive integer, got 0"),
        ({"d_model": 32.0}, "d_model must be a positive integer, got 32.0"),
        ({"conv_kernel": 1}, "conv_kernel must be at least 2"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon must be a float between 0 and 1"),
        ({"eos_token_id": 97}, r"eos_token_id must be None or in \[0, 97\), got 97"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false"),
    ],
)
def test_errors_name_the_field(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moe_intermediate_size": 0}, "moe_intermediate_size must be a positive integer in a network with experts"),
        ({"moe_latent_size": 0}, "moe_latent_size must be a positive integer"),
        ({"n_group": 3}, r"n_routed_experts \(8\) must divide into n_group \(3\) groups of at least 2"),
        ({"n_group": 8}, r"n_routed_experts \(8\) must divide into n_group \(8\) groups of at least 2"),
        ({"topk_group": 2}, r"topk_group \(2\) must not exceed n_group \(1\)"),
        ({"num_experts_per_tok": 9}, r"num_experts_per_tok \(9\) must not exceed the 8 experts"),
        ({"n_group": 4}, r"num_experts_per_tok \(3\) must not exceed the 2 experts of the chosen groups"),
        ({"routed_scaling_factor": 0.0}, "routed_scaling_factor must be a positive float"),
        ({"norm_topk_prob": 1}, "norm_topk_prob must be true or false"),
        ({"num_nextn_predict_layers": -1}, "num_nextn_predict_layers must be an integer from 0"),
        (
            {"num_nextn_predict_layers": 1, "mtp_hybrid_override_pattern": "*X"},
            "mtp_hybrid_override_pattern: unknown letter 'X' at position 1",
        ),
    ],
)
def test_errors_of_experts_name_the_field(change, message):
    with pytest.raises(ValueError, match=message):
        replace(MOE, **change)


def test_fields_of_experts_are_not_asked_of_a_network_without():
    dense = replace(MOE, pattern="M-*-", n_routed_experts=0, moe_latent_size=-3)
    assert not dense.has_experts
    assert "moe_latent_size" not in to_hf(dense)


@pytest.mark.parametrize("name", ["tiny", "moe", "latent_moe"])
def test_flops_equal_a_count_of_the_products(name, monkeypatch):
    """torch's counter sees the matrix products of the forward pass (those of attention in its plain form) but
    not the convolution, which is no product here."""
    monkeypatch.setenv("STILLHOUSE_KERNELS", "torch")  # it does not see into kernels of our own
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    config = VARIANTS[name]
    length = 64
    model = HybridLM.create(config, seed=0)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.arange(length)[None])
    counts = counter.get_flop_counts()["Global"]
    conv = config.pattern.count("M") * 2 * config.conv_kernel * config.conv_dim
    counted = sum(counts.values()) / length
    weighted_sums = config.pattern.count("E") * 2 * config.num_experts_per_tok * config.expert_dim
    assert config.flops_per_token(length) - conv == pytest.approx(counted - weighted_sums, rel=1e-12)
    assert config.training_flops_per_token(length) == 3 * config.flops_per_token(length)


def test_flops_of_further_predictions_equal_a_count_of_the_products(monkeypatch):
    monkeypatch.setenv("STILLHOUSE_KERNELS", "torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    length, depths = 32, 2
    model = HybridLM.create(MTP, seed=0)
    ids = torch.arange(length)[None]
    with torch.no_grad():
        hidden = model.hidden_states(ids)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            for further in model.mtp_hidden_states(hidden, ids, depths=depths):
                model.lm_head(further)
    weighted_sums = depths * 2 * MTP.num_experts_per_tok * MTP.expert_dim
    counted = counter.get_total_flops() / length - weighted_sums
    extra = MTP.training_flops_per_token(length, mtp_depths=depths) - MTP.training_flops_per_token(length)
    assert extra == pytest.approx(3 * counted, rel=1e-12)


def test_cache_bytes_equal_the_cache():
    from model.cache import AttentionState, DecodeCache, MambaState

    cache = DecodeCache.empty(TINY, 3, max_length=50)
    total = 0
    for state in cache.layers:
        if isinstance(state, MambaState):
            total += state.conv_BSC.nbytes + state.ssm_BHPN.nbytes
        elif isinstance(state, AttentionState):
            total += state.k_BKTD.nbytes + state.v_BKTD.nbytes
    assert TINY.cache_bytes(50, 3, kv_bytes=4) == total


def test_configuration_modules_load_no_torch():
    code = "import sys, model.config, model.presets, model.hf_config; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=200)
    assert done.returncode == 0


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        TINY.d_model = 5  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(hash(TINY), int)
    assert HybridConfig(**{f: getattr(TINY, f) for f in TINY.__dataclass_fields__}) == TINY
