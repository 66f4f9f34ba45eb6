"""Which descriptions of a network make sense."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.config import HybridConfig

ATTENTION_NORMS = ("none", "qk", "qkv")
LAYER_KINDS = {"M": "Mamba-2", "-": "feed-forward", "*": "attention", "E": "mixture of experts"}


def check_config(config: "HybridConfig") -> None:
    """Raises ValueError that names the field."""
    _check_pattern(config, "pattern")
    sizes = (
        "vocab_size d_model intermediate_size num_attention_heads num_key_value_heads head_dim "
        "mamba_num_heads mamba_head_dim ssm_state_size n_groups conv_kernel chunk_size max_position_embeddings"
    )
    for name in sizes.split():
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    if config.conv_kernel < 2:
        raise ValueError(f"conv_kernel must be at least 2, got {config.conv_kernel}")
    for name in ("layer_norm_epsilon", "initializer_range"):
        value = getattr(config, name)
        if not isinstance(value, float) or not 0 < value < 1:
            raise ValueError(f"{name} must be a float between 0 and 1, got {value!r}")
    if not isinstance(config.tie_word_embeddings, bool):
        raise ValueError(f"tie_word_embeddings must be true or false, got {config.tie_word_embeddings!r}")
    for name, divisor in (("num_attention_heads", "num_key_value_heads"), ("mamba_num_heads", "n_groups")):
        if getattr(config, name) % getattr(config, divisor):
            raise ValueError(
                f"{name} ({getattr(config, name)}) must be a multiple of {divisor} ({getattr(config, divisor)})"
            )
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(config, name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < config.vocab_size:
            raise ValueError(f"{name} must be None or in [0, {config.vocab_size}), got {value!r}")
    if config.attention_norm not in ATTENTION_NORMS:
        raise ValueError(f"attention_norm must be one of {', '.join(ATTENTION_NORMS)}, got {config.attention_norm!r}")
    if not isinstance(config.output_norm, bool):
        raise ValueError(f"output_norm must be true or false, got {config.output_norm!r}")
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        value = getattr(config, name)
        if value is not None and not (isinstance(value, float) and 0 < value < math.inf):
            raise ValueError(f"{name} must be None or a positive float, got {value!r}")
    depths = config.num_nextn_predict_layers
    if not isinstance(depths, int) or isinstance(depths, bool) or depths < 0:
        raise ValueError(f"num_nextn_predict_layers must be an integer from 0, got {depths!r}")
    if depths:
        _check_pattern(config, "mtp_hybrid_override_pattern")
    if config.has_experts:
        _check_experts(config)


def _check_pattern(config: "HybridConfig", name: str) -> None:
    pattern = getattr(config, name)
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"{name} must name at least one layer, got {pattern!r}")
    known = ", ".join(f"{letter!r} {kind}" for letter, kind in LAYER_KINDS.items())
    for position, letter in enumerate(pattern):
        if letter not in LAYER_KINDS:
            raise ValueError(f"{name}: unknown letter {letter!r} at position {position}; known: {known}")


def _check_experts(config: "HybridConfig") -> None:
    sizes = (
        "n_routed_experts num_experts_per_tok moe_intermediate_size moe_shared_expert_intermediate_size "
        "n_group topk_group"
    )
    for name in (*sizes.split(), *(["moe_latent_size"] if config.moe_latent_size is not None else [])):
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer in a network with experts, got {value!r}")
    if not isinstance(config.routed_scaling_factor, float) or not 0 < config.routed_scaling_factor < math.inf:
        raise ValueError(f"routed_scaling_factor must be a positive float, got {config.routed_scaling_factor!r}")
    if not isinstance(config.norm_topk_prob, bool):
        raise ValueError(f"norm_topk_prob must be true or false, got {config.norm_topk_prob!r}")
    if config.n_routed_experts % config.n_group or config.n_routed_experts < 2 * config.n_group:
        raise ValueError(
            f"n_routed_experts ({config.n_routed_experts}) must divide into n_group ({config.n_group}) groups of at "
            "least 2"
        )
    if config.topk_group > config.n_group:
        raise ValueError(f"topk_group ({config.topk_group}) must not exceed n_group ({config.n_group})")
    eligible = config.topk_group * (config.n_routed_experts // config.n_group)
    if config.num_experts_per_tok > eligible:
        raise ValueError(
            f"num_experts_per_tok ({config.num_experts_per_tok}) must not exceed the {eligible} experts of the "
            "chosen groups"
        )
