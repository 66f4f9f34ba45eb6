"""Validation, counts and the config.json form."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.config import HybridConfig, width_scaled_std
from model.hf_config import from_hf, read_config, to_hf
from model.hybrid import HybridLM
from model.presets import PRESETS
from tests.model.common import TIED, TINY, VARIANTS

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


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_totals(name):
    assert round(PRESETS[name].num_params() / 1e9, 2) == PUBLISHED[name]


@pytest.mark.parametrize("name", [*PRESETS, *VARIANTS])
def test_num_params_is_what_the_network_has(name):
    config = {**PRESETS, **VARIANTS}[name]
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
        ({"pattern": "ME"}, r"pattern: 'E' \(mixture of experts\) at position 1 is not supported"),
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


def test_flops_equal_a_count_of_the_products():
    """torch's counter sees the matrix products of the forward pass (those of attention in its plain form) but
    not the convolution, which is no product here."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    config = replace(TINY, chunk_size=16)
    length = 64
    model = HybridLM.create(config, seed=0)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(1, length, dtype=torch.long))
    counts = counter.get_flop_counts()["Global"]
    conv = config.pattern.count("M") * 2 * config.conv_kernel * config.conv_dim
    counted = sum(counts.values()) / length
    assert config.flops_per_token(length) - conv == pytest.approx(counted, rel=1e-12)
    assert config.training_flops_per_token(length) == 3 * config.flops_per_token(length)


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


@pytest.mark.parametrize("name", [*PRESETS, *VARIANTS])
def test_hf_round_trip(name):
    config = {**PRESETS, **VARIANTS}[name]
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
        ({"num_nextn_predict_layers": 1}, "num_nextn_predict_layers = 1 is not supported"),
        ({"time_step_limit": [0.0, 0.1]}, r"time_step_limit = \[0.0, 0.1\] is not supported"),
        ({"hybrid_override_pattern": "ME-"}, "hybrid_override_pattern: 'E'|pattern: 'E'"),
        ({"num_hidden_layers": 8}, "num_hidden_layers is 8, the pattern has 7 layers"),
        ({"hidden_size": -1}, "hidden_size must be a positive integer"),
    ],
)
def test_unsupported_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=f"some/config.json: .*({message})"):
        from_hf({**to_hf(TINY), **change}, source="some/config.json")


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
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60)
    assert done.returncode == 0


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        TINY.d_model = 5  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(hash(TINY), int)
    assert HybridConfig(**{f: getattr(TINY, f) for f in TINY.__dataclass_fields__}) == TINY
