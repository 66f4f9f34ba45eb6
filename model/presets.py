"""The published dense models of the Nemotron-H family.

Sources: Nemotron-H (arXiv 2504.03624), Nemotron Nano 2 (arXiv 2508.14444), Nemotron 3 Nano 4B; dimensions as in
the recipes of Megatron-Bridge (recipes/nemotronh) and the examples of Megatron-LM. Where no standard deviation
of the initialisation is published (pruned models have none) the default stands.
"""

from dataclasses import replace

from model.config import HybridConfig

_PATTERN_8B = "M-M-M-M*-" + "M-M-M-M-M*-" * 3 + "M-M-M-M-M-"

NEMOTRON_H_8B = HybridConfig(
    pattern=_PATTERN_8B,
    vocab_size=131072,
    d_model=4096,
    intermediate_size=21504,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    mamba_num_heads=128,
    mamba_head_dim=64,
    ssm_state_size=128,
    n_groups=8,
    initializer_range=0.014,
)

NEMOTRON_H_4B = replace(
    NEMOTRON_H_8B, d_model=3072, intermediate_size=12288, mamba_num_heads=112, initializer_range=0.02
)

NEMOTRON_H_56B = replace(
    NEMOTRON_H_8B,
    pattern="M-M-M-M*-" + "M-M-M-M-M*-" * 9 + "M-M-M-M-M-",
    d_model=8192,
    intermediate_size=32768,
    num_attention_heads=64,
    mamba_num_heads=256,
    ssm_state_size=256,
    initializer_range=0.0099,
)

NEMOTRON_H_47B = replace(
    NEMOTRON_H_56B,
    pattern="M-M-M-M-M-M-M-M-M*-M-M-M-M-M-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-M-M---MM---M-M*-M-M-M-M-M-",
    intermediate_size=30720,
    initializer_range=0.02,
)

NEMOTRON_NANO_12B_V2 = replace(
    NEMOTRON_H_8B,
    pattern="M-M-M-M*-" * 6 + "M-M-M-M-",
    d_model=5120,
    intermediate_size=20480,
    num_attention_heads=40,
    mamba_head_dim=80,
    initializer_range=0.0125,
)

NEMOTRON_NANO_9B_V2 = replace(
    NEMOTRON_NANO_12B_V2,
    pattern="M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
    d_model=4480,
    intermediate_size=15680,
    initializer_range=0.02,
)

NEMOTRON_3_NANO_4B = replace(
    NEMOTRON_NANO_12B_V2,
    pattern="M-M-M-MM-M-M*-M-M*-M-M-M*-M-M-MM*-MMM-M-M-",
    d_model=3136,
    intermediate_size=12544,
    mamba_num_heads=96,
    chunk_size=256,
    initializer_range=0.02,
)

PRESETS = {
    "nemotron_h_4b": NEMOTRON_H_4B,
    "nemotron_h_8b": NEMOTRON_H_8B,
    "nemotron_h_47b": NEMOTRON_H_47B,
    "nemotron_h_56b": NEMOTRON_H_56B,
    "nemotron_nano_12b_v2": NEMOTRON_NANO_12B_V2,
    "nemotron_nano_9b_v2": NEMOTRON_NANO_9B_V2,
    "nemotron_3_nano_4b": NEMOTRON_3_NANO_4B,
}
