"""The published models of the Nemotron-H family.

Sources: Nemotron-H (arXiv 2504.03624), Nemotron Nano 2 (arXiv 2508.14444), Nemotron 3 (arXiv 2512.20856 and the
technical reports of Nano, Super and Ultra); dimensions as in the recipes of Megatron-Bridge (recipes/nemotronh) and
the examples of Megatron-LM. Where no standard deviation of the initialisation is published (pruned models have none)
the default stands. Super and Ultra predict two further tokens in training, with one block for both.
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

NEMOTRON_3_NANO_30B_A3B = replace(
    NEMOTRON_H_8B,
    pattern="MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    d_model=2688,
    intermediate_size=1856,
    num_key_value_heads=2,
    mamba_num_heads=64,
    initializer_range=0.0173,
    n_routed_experts=128,
    num_experts_per_tok=6,
    moe_intermediate_size=1856,
    moe_shared_expert_intermediate_size=3712,
    routed_scaling_factor=2.5,
)

NEMOTRON_3_SUPER_120B_A12B = replace(
    NEMOTRON_H_8B,
    pattern="MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME",
    intermediate_size=2688,
    num_key_value_heads=2,
    n_routed_experts=512,
    num_experts_per_tok=22,
    moe_intermediate_size=2688,
    moe_shared_expert_intermediate_size=5376,
    moe_latent_size=1024,
    routed_scaling_factor=5.0,
    num_nextn_predict_layers=1,
)

NEMOTRON_3_ULTRA_550B_A55B = replace(
    NEMOTRON_3_SUPER_120B_A12B,
    pattern="MEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    d_model=8192,
    intermediate_size=5120,
    num_attention_heads=64,
    mamba_num_heads=256,
    initializer_range=0.0099,
    moe_intermediate_size=5120,
    moe_shared_expert_intermediate_size=10240,
    moe_latent_size=2048,
)

PRESETS = {
    "nemotron_h_4b": NEMOTRON_H_4B,
    "nemotron_h_8b": NEMOTRON_H_8B,
    "nemotron_h_47b": NEMOTRON_H_47B,
    "nemotron_h_56b": NEMOTRON_H_56B,
    "nemotron_nano_12b_v2": NEMOTRON_NANO_12B_V2,
    "nemotron_nano_9b_v2": NEMOTRON_NANO_9B_V2,
    "nemotron_3_nano_4b": NEMOTRON_3_NANO_4B,
    "nemotron_3_nano_30b_a3b": NEMOTRON_3_NANO_30B_A3B,
    "nemotron_3_super_120b_a12b": NEMOTRON_3_SUPER_120B_A12B,
    "nemotron_3_ultra_550b_a55b": NEMOTRON_3_ULTRA_550B_A55B,
}
