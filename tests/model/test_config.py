"""Validation, counts and the config.json form."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.config import OWN_OPTIONS, HybridConfig, width_scaled_std
from model.hf_config import from_hf, read_config, to_hf
from model.hybrid import HybridLM
from model.presets import PRESETS
from tests.model.common import CAPPED, MOE, MTP, OWN, TIED, TINY, VARIANTS

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


def test_flops_of_further_predictions_equal_a_count_of_the_products():
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


@pytest.mark.parametrize("name", [*PRESETS, *VARIANTS, *OWN])
def test_hf_round_trip(name):
    config = {**PRESETS, **VARIANTS, **OWN}[name]
    assert from_hf(json.loads(json.dumps(to_hf(config)))) == config


def test_list_form_of_the_layers():
    values = to_hf(TINY)
    del values["hybrid_override_pattern"]
    for kinds in (
        ["mamba", "mlp", "mamba", "attention", "mlp", "mamba", "mlp"],
        ["linear_attention", "mlp", "linear_attention", "full_attention", "mlp", "linear_attention", "mlp"],
    ):
        assert from_hf({**values, "layers_block_type": kinds}) == TINY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "model_type is 'llama', expected 'nemotron_h'"),
        ({"mlp_bias": True}, "mlp_bias = True is not supported"),
        ({"use_bias": True}, "use_bias = True is not supported"),
        ({"use_conv_bias": False}, "use_conv_bias = False is not supported"),
        ({"mlp_hidden_act": "silu"}, "mlp_hidden_act = 'silu' is not supported"),
        ({"num_nextn_predict_layers": 1}, "neither mtp_hybrid_override_pattern nor mtp_layers_block_type is present"),
        ({"time_step_limit": [0.0, 0.1]}, r"time_step_limit = \[0.0, 0.1\] is not supported"),
        ({"hybrid_override_pattern": "ME-"}, "n_routed_experts is missing"),
        ({"num_hidden_layers": 8}, "num_hidden_layers is 8, the pattern has 7 layers"),
        ({"hidden_size": -1}, "hidden_size must be a positive integer"),
    ],
)
def test_unsupported_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=f"some/config.json: .*({message})"):
        from_hf({**to_hf(TINY), **change}, source="some/config.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_shared_experts": 2}, "n_shared_experts = 2 is not supported"),
        ({"num_experts_per_tok": 99}, r"num_experts_per_tok \(99\) must not exceed"),
        ({"mtp_hybrid_override_pattern": "*X"}, "mtp_hybrid_override_pattern: unknown letter 'X'"),
        ({"routed_scaling_factor": "x"}, "routed_scaling_factor must be a positive float"),
    ],
)
def test_unsupported_experts_are_refused(change, message):
    with pytest.raises(ValueError, match=f"some/config.json: .*({message})"):
        from_hf({**to_hf(MTP), **change}, source="some/config.json")


def test_a_norm_inside_attention_is_no_nemotron_h():
    values = to_hf(OWN["qk_norm"])
    assert values["model_type"] == "stillhouse_hybrid"
    with pytest.raises(ValueError, match="attention_norm = 'qk' is not supported"):
        from_hf({**values, "model_type": "nemotron_h"})
    with pytest.raises(ValueError, match="attention_norm must be one of none, qk, qkv, got 'k'"):
        from_hf({**values, "attention_norm": "k"})
    assert not to_hf(TINY).keys() & OWN_OPTIONS.keys()


def test_caps_and_output_norms_are_no_nemotron_h():
    values = to_hf(CAPPED)
    assert values["model_type"] == "stillhouse_hybrid"
    assert from_hf({**values, "final_logit_softcapping": 15}).final_logit_softcapping == 15.0
    assert CAPPED.num_params() == sum(p.numel() for p in HybridLM.create(CAPPED, seed=0).parameters())
    for name in CAPPED.own_options:
        with pytest.raises(ValueError, match=f"{name} = .* is not supported"):
            from_hf({**to_hf(TINY), name: values[name]})
    for name, bad in {"output_norm": 1, "attn_logit_softcapping": 0.0, "final_logit_softcapping": "15"}.items():
        with pytest.raises(ValueError, match=f"{name} must be"):
            from_hf({**values, name: bad})


def test_published_configuration_of_a_model_with_experts():
    """The form of NVIDIA's config.json for Nemotron 3 Nano: keys that this project does not write among them."""
    preset = PRESETS["nemotron_3_nano_30b_a3b"]
    published = {
        **{key: value for key, value in to_hf(preset).items() if key not in ("time_step_min", "torch_dtype")},
        "auto_map": {"AutoConfig": "configuration_nemotron_h.NemotronHConfig"},
        "max_position_embeddings": 262144,
        "time_step_min": 0.001,
        "time_step_limit": [0.0, float("inf")],
        "norm_eps": 1e-05,
        "rope_theta": 10000,
        "partial_rotary_factor": 1.0,
        "sliding_window": None,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "use_mamba_kernels": True,
        "moe_shared_expert_overlap": False,
        "num_logits_to_keep": 1,
        "n_shared_experts": 1,
    }
    assert from_hf(published) == replace(preset, max_position_embeddings=262144)


VLLM_READS = """
    hybrid_override_pattern num_hidden_layers vocab_size hidden_size intermediate_size num_attention_heads
    num_key_value_heads head_dim mamba_num_heads mamba_head_dim ssm_state_size n_groups conv_kernel chunk_size
    use_conv_bias use_bias mlp_bias mamba_hidden_act mlp_hidden_act layer_norm_epsilon max_position_embeddings
    mamba_ssm_cache_dtype
"""
VLLM_READS_OF_EXPERTS = """
    n_routed_experts n_shared_experts num_experts_per_tok moe_intermediate_size moe_shared_expert_intermediate_size
    moe_latent_size routed_scaling_factor norm_topk_prob n_group topk_group
"""


def test_fields_that_vllm_reads_are_written():
    """What its nemotron_h.py and nemotron_h_mtp.py take from the configuration."""
    dense, experts = to_hf(TINY), to_hf(MTP)
    assert not set(VLLM_READS.split()) - dense.keys()
    assert not {*VLLM_READS.split(), *VLLM_READS_OF_EXPERTS.split()} - experts.keys()
    assert {experts[key] for key in ("num_nextn_predict_layers", "n_shared_experts")} == {1}
    assert set(experts["mtp_hybrid_override_pattern"]) <= {"*", "E"}
    assert not {"auto_map", "quantization_config"} & experts.keys()


@pytest.mark.parametrize("key", ["n_routed_experts", "moe_shared_expert_intermediate_size"])
def test_missing_keys_of_experts_are_named(key):
    values = to_hf(MOE)
    del values[key]
    with pytest.raises(ValueError, match=f"{key} is missing"):
        from_hf(values)


@pytest.mark.parametrize("key", ["hidden_size", "n_groups", "head_dim", "hybrid_override_pattern"])
def test_missing_keys_are_named(key):
    values = to_hf(TINY)
    del values[key]
    with pytest.raises(ValueError, match=key):
        from_hf(values)


@pytest.mark.parametrize("limit", [[0.0, float("inf")], [0.0, {"__float__": "Infinity"}], None])
def test_forms_of_an_open_time_step_limit(limit):
    assert from_hf({**to_hf(TIED), "time_step_limit": limit}) == TIED


def test_read_config_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: not JSON"):
        read_config(tmp_path)


def test_configuration_modules_load_no_torch():
    code = "import sys, model.config, model.presets, model.hf_config; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=200)
    assert done.returncode == 0


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        TINY.d_model = 5  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(hash(TINY), int)
    assert HybridConfig(**{f: getattr(TINY, f) for f in TINY.__dataclass_fields__}) == TINY
