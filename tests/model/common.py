"""Small networks for the tests of the model."""

from dataclasses import replace

import torch

from model.config import HybridConfig
from model.hybrid import HybridLM

TINY = HybridConfig(
    pattern="M-M*-M-",
    vocab_size=97,
    d_model=32,
    intermediate_size=48,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    mamba_num_heads=6,
    mamba_head_dim=8,
    ssm_state_size=16,
    n_groups=2,
    chunk_size=16,
    initializer_range=0.15,
)
TIED = replace(TINY, tie_word_embeddings=True)
# Widths as pruning leaves them: no power of two, and d_inner is not a multiple of d_model.
PRUNED = replace(
    TINY, pattern="MM*-", d_model=27, intermediate_size=37, mamba_num_heads=6, mamba_head_dim=5, n_groups=3
)
UNGROUPED = replace(TINY, num_key_value_heads=4, n_groups=1, pattern="M*-")
DENSE = {"tiny": TINY, "tied": TIED, "pruned": PRUNED, "ungrouped": UNGROUPED}
MOE = replace(
    TINY,
    pattern="MEM*E-ME",
    n_routed_experts=8,
    num_experts_per_tok=3,
    moe_intermediate_size=20,
    moe_shared_expert_intermediate_size=40,
    routed_scaling_factor=2.5,
)
# Groups of experts, and weights that do not sum to one.
GROUPED_MOE = replace(MOE, pattern="ME*E", n_group=4, topk_group=2, norm_topk_prob=False, routed_scaling_factor=1.0)
LATENT_MOE = replace(MOE, moe_latent_size=12, n_routed_experts=16, num_experts_per_tok=5)
MTP = replace(LATENT_MOE, pattern="ME*E", num_nextn_predict_layers=1)
# Networks that transformers cannot compute.
QK_NORM = replace(TINY, attention_norm="qk")
QKV_NORM = replace(TINY, attention_norm="qkv")
# Caps so small that both bite.
CAPPED = replace(TINY, attention_norm="qk", output_norm=True, attn_logit_softcapping=0.7, final_logit_softcapping=0.5)
OWN = {"qk_norm": QK_NORM, "qkv_norm": QKV_NORM, "capped": CAPPED}
EXPERTS = {"moe": MOE, "grouped_moe": GROUPED_MOE, "latent_moe": LATENT_MOE, "mtp": MTP}
VARIANTS = {**DENSE, **EXPERTS}


def shake(model: HybridLM) -> HybridLM:
    """Norms, D and the routers' biases away from their neutral values, so that a swapped or forgotten one shows."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("norm.weight", "norm_f.weight", "layernorm.weight", ".D")):
                tensor.mul_(torch.linspace(0.5, 1.5, tensor.numel()))
            elif name.endswith("e_score_correction_bias"):
                tensor.copy_(torch.linspace(-0.2, 0.2, tensor.numel()))
    return model
