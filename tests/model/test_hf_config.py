"""The config.json form: what is written, read back, and refused."""

import json
from dataclasses import replace

import pytest

from model.config import OWN_OPTIONS
from model.hf_config import from_hf, read_config, to_hf
from model.hybrid import HybridLM
from model.presets import PRESETS
from tests.model.common import CAPPED, MOE, MTP, OWN, TIED, TINY, VARIANTS


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
