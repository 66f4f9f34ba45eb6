"""Grouped-query attention without positional embedding or biases (Nemotron-H, section 2.1), with norms of queries, keys
and values and a cap on the scores as options (arXiv 2410.16682).

Shape suffixes: B batch, L query length, T key length, D model width, H query heads, K key-value heads, E head dim.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kernels.rmsnorm import rms_norm
from kernels.softcap import capped_attention
from model.cache import AttentionState
from model.config import HybridConfig
from model.linear import Linear


def document_mask(seq_idx_BL: Tensor) -> Tensor:
    """Boolean mask_B1LL that lets a position see the earlier ones of its own document, and itself."""
    same_BLL = seq_idx_BL[:, :, None] == seq_idx_BL[:, None, :]
    return same_BLL.tril()[:, None]


class HeadNorm(nn.Module):
    """RMS norm over the channels of each head, with one weight for all heads."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.head_dim))
        self.eps = config.layer_norm_epsilon

    def forward(self, x_BLHE: Tensor) -> Tensor:
        return rms_norm(x_BLHE, self.weight, eps=self.eps)


class Attention(nn.Module):
    """q_proj, k_proj, v_proj -> softmax(q k^T / sqrt(head_dim)) v -> o_proj."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.cap = config.attn_logit_softcapping
        self.grouped = config.num_key_value_heads != config.num_attention_heads
        q_dim = config.num_attention_heads * config.head_dim
        kv_dim = config.num_key_value_heads * config.head_dim
        self.q_proj = Linear(config.d_model, q_dim)
        self.k_proj = Linear(config.d_model, kv_dim)
        self.v_proj = Linear(config.d_model, kv_dim)
        self.o_proj = Linear(q_dim, config.d_model)
        for name in "" if config.attention_norm == "none" else config.attention_norm:
            setattr(self, f"{name}_norm", HeadNorm(config))

    def forward(self, x_BLD: Tensor, *, mask_B1LL: Tensor | None = None, state: AttentionState | None = None) -> Tensor:
        """Causal attention; `state` puts earlier positions before x, `mask_B1LL` (over all keys) replaces the causal
        mask."""
        q_BHLE, k_BKLE, v_BKLE = (self._heads(name, x_BLD) for name in "qkv")
        if self.cap is not None:
            if state is not None:
                k_BKLE, v_BKLE = state.append(k_BKLE, v_BKLE)
            y_BHLE = capped_attention(q_BHLE, k_BKLE, v_BKLE, cap=self.cap, mask_B1LT=mask_B1LL)
            return self.o_proj(y_BHLE.transpose(1, 2).flatten(-2))
        length = x_BLD.shape[1]
        causal = mask_B1LL is None
        if state is not None and state.length:
            past = state.length
            causal = False
            if length > 1 and mask_B1LL is None:
                every = torch.ones(length, past + length, dtype=torch.bool, device=x_BLD.device)
                mask_B1LL = every.tril(past)[None, None]
        if state is not None:
            k_BKLE, v_BKLE = state.append(k_BKLE, v_BKLE)
        y_BHLE = scaled_dot_product_attention(
            q_BHLE, k_BKLE, v_BKLE, attn_mask=mask_B1LL, is_causal=causal, enable_gqa=self.grouped
        )
        return self.o_proj(y_BHLE.transpose(1, 2).flatten(-2))

    def _heads(self, name: str, x_BLD: Tensor) -> Tensor:
        """Queries, keys or values by head: (B, heads, L, E)."""
        heads_BLHE = self.get_submodule(f"{name}_proj")(x_BLD).unflatten(-1, (-1, self.head_dim))
        norm = self._modules.get(f"{name}_norm")
        return (heads_BLHE if norm is None else norm(heads_BLHE)).transpose(1, 2)
