"""Grouped-query attention without positional embedding, biases or query-key norms (Nemotron-H, section 2.1).

Shape suffixes: B batch, L query length, T key length, D model width, H query heads, K key-value heads, E head dim.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from model.cache import AttentionState
from model.config import HybridConfig


def document_mask(seq_idx_BL: Tensor) -> Tensor:
    """Boolean mask_B1LL that lets a position see the earlier ones of its own document, and itself."""
    same_BLL = seq_idx_BL[:, :, None] == seq_idx_BL[:, None, :]
    return same_BLL.tril()[:, None]


class Attention(nn.Module):
    """q_proj, k_proj, v_proj -> softmax(q k^T / sqrt(head_dim)) v -> o_proj."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.grouped = config.num_key_value_heads != config.num_attention_heads
        q_dim = config.num_attention_heads * config.head_dim
        kv_dim = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.d_model, q_dim, bias=False)
        self.k_proj = nn.Linear(config.d_model, kv_dim, bias=False)
        self.v_proj = nn.Linear(config.d_model, kv_dim, bias=False)
        self.o_proj = nn.Linear(q_dim, config.d_model, bias=False)

    def forward(self, x_BLD: Tensor, *, mask_B1LL: Tensor | None = None, state: AttentionState | None = None) -> Tensor:
        """Causal attention; `mask_B1LL` replaces the causal mask, `state` puts earlier positions before x."""
        q_BHLE, k_BKLE, v_BKLE = (
            projection(x_BLD).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        length = x_BLD.shape[1]
        causal = mask_B1LL is None
        if state is not None and state.length:
            past = state.length
            causal = False
            if length > 1:
                every = torch.ones(length, past + length, dtype=torch.bool, device=x_BLD.device)
                mask_B1LL = every.tril(past)[None, None]
        if state is not None:
            k_BKLE, v_BKLE = state.append(k_BKLE, v_BKLE)
        y_BHLE = scaled_dot_product_attention(
            q_BHLE, k_BKLE, v_BKLE, attn_mask=mask_B1LL, is_causal=causal, enable_gqa=self.grouped
        )
        return self.o_proj(y_BHLE.transpose(1, 2).flatten(-2))
