"""Grouped-query attention without positional embedding or biases (Nemotron-H, section 2.1), with norms of queries, keys
and values and a cap on the scores as options (arXiv 2410.16682).

Shape suffixes: B batch, L queries, T positions so far, D model width, H query heads, K key-value heads, E head dim.
"""

import torch
from torch import Tensor, nn

from kernels.attention import attention, visible
from kernels.rmsnorm import rms_norm
from kernels.softcap import capped_attention
from model.cache import AttentionState
from model.config import HybridConfig
from model.linear import Linear


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
        q_dim = config.num_attention_heads * config.head_dim
        kv_dim = config.num_key_value_heads * config.head_dim
        self.q_proj = Linear(config.d_model, q_dim)
        self.k_proj = Linear(config.d_model, kv_dim)
        self.v_proj = Linear(config.d_model, kv_dim)
        self.o_proj = Linear(q_dim, config.d_model)
        for name in "" if config.attention_norm == "none" else config.attention_norm:
            setattr(self, f"{name}_norm", HeadNorm(config))

    def forward(
        self,
        x_BLD: Tensor,
        *,
        seq_idx_BT: Tensor | None = None,
        mask_B1LT: Tensor | None = None,
        state: AttentionState | None = None,
    ) -> Tensor:
        """Causal attention; `state` puts earlier positions before x. `seq_idx_BT` keeps documents apart, `mask_B1LT` is
        the same as a mask, for a caller who has made it."""
        q_BHLE, k_BKTE, v_BKTE = (self._heads(name, x_BLD) for name in "qkv")
        if state is not None:
            k_BKTE, v_BKTE = state.append(k_BKTE, v_BKTE)
        if self.cap is None:
            y_BHLE = attention(q_BHLE, k_BKTE, v_BKTE, seq_idx_BT=seq_idx_BT, mask_B1LT=mask_B1LT)
        else:
            if seq_idx_BT is not None and mask_B1LT is None:
                mask_B1LT = visible(x_BLD.shape[1], seq_idx_BT)
            y_BHLE = capped_attention(q_BHLE, k_BKTE, v_BKTE, cap=self.cap, mask_B1LT=mask_B1LT)
        return self.o_proj(y_BHLE.transpose(1, 2).flatten(-2))

    def _heads(self, name: str, x_BLD: Tensor) -> Tensor:
        """Queries, keys or values by head: (B, heads, L, E)."""
        heads_BLHE = self.get_submodule(f"{name}_proj")(x_BLD).unflatten(-1, (-1, self.head_dim))
        norm = self._modules.get(f"{name}_norm")
        return (heads_BLHE if norm is None else norm(heads_BLHE)).transpose(1, 2)
