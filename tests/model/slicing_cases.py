"""Random networks for the tests of slicing, and their masked form: what is cut, silenced in place."""

import math
from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from model.config import HybridConfig
from model.hybrid import HybridLM
from model.slicing import WidthScores, axis_size, layer_axes, num_groups, score_shape, width_axes

VOCAB = 61

# Every axis at once: groups of heads, of Mamba heads and of experts, a latent space, multi-token prediction.
WHOLE = HybridConfig(
    pattern="ME*-M",
    vocab_size=VOCAB,
    d_model=16,
    intermediate_size=12,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    mamba_num_heads=8,
    mamba_head_dim=4,
    ssm_state_size=8,
    n_groups=2,
    chunk_size=8,
    n_routed_experts=12,
    num_experts_per_tok=3,
    moe_intermediate_size=10,
    moe_shared_expert_intermediate_size=14,
    moe_latent_size=8,
    routed_scaling_factor=2.5,
    n_group=2,
    num_nextn_predict_layers=1,
    mtp_hybrid_override_pattern="*E",
)


@st.composite
def configs(draw: st.DrawFn) -> HybridConfig:
    kinds = draw(st.lists(st.sampled_from("M-*E"), min_size=0, max_size=3))
    kv_heads, n_groups, n_group = (draw(st.sampled_from(sizes)) for sizes in ([1, 2], [1, 2, 3], [1, 2]))
    mtp = draw(st.sampled_from(["", "*E", "M-"]))
    return HybridConfig(
        pattern="".join(draw(st.permutations(["M", "-", "*", *kinds]))),
        vocab_size=VOCAB,
        d_model=draw(st.sampled_from([12, 16])),
        intermediate_size=draw(st.sampled_from([8, 20])),
        num_attention_heads=kv_heads * draw(st.sampled_from([2, 3])),
        num_key_value_heads=kv_heads,
        head_dim=draw(st.sampled_from([2, 5])),
        mamba_num_heads=n_groups * draw(st.sampled_from([2, 4])),
        mamba_head_dim=draw(st.sampled_from([2, 6])),
        ssm_state_size=draw(st.sampled_from([3, 8])),
        n_groups=n_groups,
        conv_kernel=draw(st.sampled_from([2, 4])),
        chunk_size=8,
        tie_word_embeddings=draw(st.booleans()),
        attention_norm=draw(st.sampled_from(["none", "qk", "qkv"])),
        output_norm=draw(st.booleans()),
        attn_logit_softcapping=draw(st.sampled_from([None, 2.0])),
        final_logit_softcapping=draw(st.sampled_from([None, 5.0])),
        n_routed_experts=n_group * draw(st.sampled_from([4, 6])),
        num_experts_per_tok=draw(st.sampled_from([1, 2])),
        moe_intermediate_size=draw(st.sampled_from([3, 6])),
        moe_shared_expert_intermediate_size=draw(st.sampled_from([5, 8])),
        moe_latent_size=draw(st.sampled_from([None, 7])),
        norm_topk_prob=draw(st.booleans()),
        n_group=n_group,
        num_nextn_predict_layers=int(bool(mtp)),
        mtp_hybrid_override_pattern=mtp or "*E",
    )


def random_model(config: HybridConfig, seed: int = 0) -> HybridLM:
    """float64, every parameter random and none of them neutral, so that no permutation can hide."""
    model = HybridLM.create(config, seed=seed).cast(torch.float64)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("correction_bias"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.4)
            elif tensor.ndim == 1 and "A_log" not in name:
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5)
            elif tensor.ndim >= 2 and "conv1d" not in name:
                std = 1.0 if "embeddings" in name else 2 / math.sqrt(tensor.shape[-1])
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * std)
    return model


def random_scores(config: HybridConfig, seed: int = 0) -> WidthScores:
    generator = torch.Generator().manual_seed(seed)

    def drawn(pattern: str) -> list[dict[str, Tensor]]:
        return [
            {axis: torch.rand(score_shape(config, axis), generator=generator) for axis in layer_axes(config, letter)}
            for letter in pattern
        ]

    return WidthScores(
        d_model=torch.rand(config.d_model, generator=generator),
        layers=drawn(config.pattern),
        mtp=drawn(config.mtp_pattern),
    )


def smaller(config: HybridConfig, axis: str, data: st.DataObject | None = None) -> HybridConfig:
    """`config` with `axis` cut to a valid smaller size (half, or as drawn)."""
    groups = num_groups(config, axis)
    most = getattr(config, axis) // groups
    least = 1
    if axis == "n_routed_experts":  # two for the router's score of a group, and as many as a token is given
        least = max(2, -(-config.num_experts_per_tok // config.topk_group))
    kept = max(least, most // 2) if data is None else data.draw(st.integers(least, most))
    return replace(config, **{axis: kept * groups})


def anything_smaller(config: HybridConfig, data: st.DataObject) -> HybridConfig:
    """`config` with every axis cut as drawn."""
    for axis in width_axes(config):
        config = smaller(config, axis, data)
    return config


def tokens(length: int = 19, batch: int = 2) -> Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def logits(model: HybridLM, ids: Tensor | None = None) -> Tensor:
    """Of the next token and, where there is multi-token prediction, of the two after it."""
    ids = tokens() if ids is None else ids
    hidden_BLD = model.hidden_states(ids)
    parts = [hidden_BLD]
    if model.mtp is not None:
        parts += model.mtp_hidden_states(hidden_BLD, ids, depths=2)
    return model.lm_head(torch.cat(parts))


def difference(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max() / right.abs().max())


@torch.no_grad()
def mask_prefix(model: HybridLM, target: HybridConfig) -> None:
    """Silence in place what a prefix slice cuts, by zeros in weights and the masked-norm rule: where a norm averages
    over a share rho of live channels, its eps becomes eps * rho and its weight is multiplied by sqrt(rho)."""
    config = model.config
    rho = target.d_model / config.d_model
    dead = slice(target.d_model, None)
    model.backbone.embeddings.weight[:, dead] = 0
    model.lm_head.weight[:, dead] = 0
    layers: list[Any] = list(model.backbone.layers)
    norms: list[Any] = [model.backbone.norm_f]
    if model.mtp is not None:
        extra: list[Any] = list(model.mtp.layers)
        layers += extra
        extra[0].eh_proj.weight[dead] = 0
        norms += [extra[0].enorm, extra[0].hnorm, extra[-1].final_layernorm]
    every = [norm for layer in layers for norm in (layer.norm, layer.output_norm)]
    norms += [norm for norm in every if norm is not None and not isinstance(norm, torch.nn.Identity)]
    for norm in norms:
        norm.eps *= rho
        norm.weight.mul_(math.sqrt(rho))
    for layer, letter in zip(layers, config.pattern + config.mtp_pattern, strict=True):
        MASKS[letter](layer.mixer, config, target, dead)


def _mask_experts(mixer: Any, config: HybridConfig, target: HybridConfig, dead: slice) -> None:
    grouped = mixer.gate.e_score_correction_bias.unflatten(0, (config.n_group, -1))
    grouped[:, target.n_routed_experts // config.n_group :] = -torch.inf
    mixer.experts.down_proj[:, :, target.moe_intermediate_size :] = 0
    mixer.shared_experts.down_proj.weight[:, target.moe_shared_expert_intermediate_size :] = 0
    mixer.shared_experts.down_proj.weight[dead] = 0
    if mixer.latent:
        mixer.fc1_latent_proj.weight[axis_size(target, "moe_latent_input") :] = 0
        mixer.fc2_latent_proj.weight[:, axis_size(target, "moe_latent_output") :] = 0
        mixer.fc2_latent_proj.weight[dead] = 0
    else:
        mixer.experts.down_proj[:, dead] = 0


def _mask_feed_forward(mixer: Any, config: HybridConfig, target: HybridConfig, dead: slice) -> None:
    mixer.down_proj.weight[:, target.intermediate_size :] = 0
    mixer.down_proj.weight[dead] = 0


def _mask_attention(mixer: Any, config: HybridConfig, target: HybridConfig, dead: slice) -> None:
    kv = config.num_key_value_heads
    columns = mixer.o_proj.weight.unflatten(1, (kv, config.num_attention_heads // kv, config.head_dim))
    columns[:, :, target.num_attention_heads // kv :] = 0
    mixer.o_proj.weight[dead] = 0


def _mask_mamba(mixer: Any, config: HybridConfig, target: HybridConfig, dead: slice) -> None:
    shape = (config.n_groups, config.mamba_num_heads // config.n_groups, config.mamba_head_dim)
    gate = mixer.in_proj.weight[: config.d_inner].unflatten(0, shape)
    gate[:, target.mamba_num_heads // config.n_groups :] = 0
    gate[:, :, target.mamba_head_dim :] = 0
    share = target.d_inner / config.d_inner
    mixer.norm.eps *= share
    mixer.norm.weight.mul_(math.sqrt(share))
    mixer.out_proj.weight[dead] = 0


MASKS = {"M": _mask_mamba, "*": _mask_attention, "-": _mask_feed_forward, "E": _mask_experts}
