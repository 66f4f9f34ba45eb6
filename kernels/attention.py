"""Causal attention with query heads that share keys and values (Ainslie et al., arXiv 2305.13245).

    y_i = sum_j softmax_j(q_i . k_j / sqrt(E)) v_j        over the positions j <= i of i's document

Shape suffixes: B batch, L queries, T keys, H query heads, K key-value heads (query head h reads head h // (H / K)),
E head dim.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from kernels import native
from kernels.attention_cpu import native_attention
from kernels.dispatch import Operation

ATTENTION: Operation[Callable[..., Tensor]] = Operation("attention")

FEW_QUERIES = 16
"""Fewer behind more keys, as in decoding, are left to torch by `auto`: blocks of queries would be nearly empty."""


def attention(
    q_BHLE: Tensor,
    k_BKTE: Tensor,
    v_BKTE: Tensor,
    *,
    seq_idx_BT: Tensor | None = None,
    mask_B1LT: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Attend; returns y_BHLE. The queries are the last of the keys' positions.

    `seq_idx_BT` (integers) numbers the document of each key: a query sees the keys of its own alone. `mask_B1LT` is
    what `visible` makes of it, for a caller who has that already: `ref` and `torch` make it otherwise, `cpu` never.

    Raises ValueError where shapes do not fit.
    """
    (batch, heads, length, head_dim), (kv_heads, keys) = q_BHLE.shape, k_BKTE.shape[1:3]
    expected = {
        "k_BKTE": (k_BKTE, (batch, kv_heads, keys, head_dim)),
        "v_BKTE": (v_BKTE, (batch, kv_heads, keys, head_dim)),
        "seq_idx_BT": (seq_idx_BT, (batch, keys)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"attention: {name} has shape {tuple(tensor.shape)}, expected {shape}")
    if heads % kv_heads:
        raise ValueError(f"attention: {heads} query heads do not divide among {kv_heads} key-value heads")
    if not 1 <= length <= keys:
        raise ValueError(f"attention: {length} queries must be the last of {keys} keys, and at least one")
    if backend == "auto" and length < FEW_QUERIES < keys:
        backend = "torch"
    function = ATTENTION.select(backend, q_BHLE.device, q_BHLE.dtype, k_BKTE.dtype, v_BKTE.dtype)
    return function(q_BHLE, k_BKTE, v_BKTE, seq_idx_BT, mask_B1LT)


def visible(length: int, seq_idx_BT: Tensor) -> Tensor:
    """The mask_B1LT in which the last `length` positions see the earlier ones of their document, and themselves."""
    earlier = seq_idx_BT.shape[1] - length
    same_BLT = seq_idx_BT[:, earlier:, None] == seq_idx_BT[:, None, :]
    return same_BLT.tril(earlier)[:, None]


def takes_documents(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `auto` reads the numbers of documents as they are there: a mask would be made for nothing."""
    return ATTENTION.select("auto", device, dtype) is _attention_cpu


@ATTENTION.register("ref")
def _attention_ref(q_BHLE, k_BKTE, v_BKTE, seq_idx_BT, mask_B1LT):
    shared = q_BHLE.shape[1] // k_BKTE.shape[1]
    k_BHTE, v_BHTE = (tensor.repeat_interleave(shared, dim=1) for tensor in (k_BKTE, v_BKTE))
    scores_BHLT = q_BHLE @ k_BHTE.transpose(-1, -2) * q_BHLE.shape[-1] ** -0.5
    if seq_idx_BT is None:
        seq_idx_BT = k_BKTE.new_zeros(1, k_BKTE.shape[2])
    seen_B1LT = visible(q_BHLE.shape[2], seq_idx_BT)
    return scores_BHLT.masked_fill(~seen_B1LT, -torch.inf).softmax(-1) @ v_BHTE


@ATTENTION.register("torch")
def _attention_torch(q_BHLE, k_BKTE, v_BKTE, seq_idx_BT, mask_B1LT):
    (heads, length), (kv_heads, keys) = q_BHLE.shape[1:3], k_BKTE.shape[1:3]
    if seq_idx_BT is None and 1 < length < keys:
        seq_idx_BT = torch.zeros(1, keys, dtype=torch.int32, device=k_BKTE.device)
    if seq_idx_BT is not None and mask_B1LT is None:
        mask_B1LT = visible(length, seq_idx_BT)
    return scaled_dot_product_attention(
        q_BHLE,
        k_BKTE,
        v_BKTE,
        attn_mask=mask_B1LT,
        is_causal=mask_B1LT is None and length == keys,
        enable_gqa=heads != kv_heads,
    )


@ATTENTION.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _attention_cpu(q_BHLE, k_BKTE, v_BKTE, seq_idx_BT, mask_B1LT):
    return native_attention(q_BHLE, k_BKTE, v_BKTE, seq_idx_BT)
