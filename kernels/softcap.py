"""Soft capping: cap * tanh(x / cap), which leaves small values as they are and keeps all of them within (-cap, cap).

Shape suffixes: B batch, L queries, T keys, H query heads, K key-value heads, G = H / K, E head dim.
"""

import torch
from torch import Tensor

QUERIES_AT_ONCE = 512
"""Queries whose scores are held at once in `capped_attention` where no gradient is wanted."""


def softcap(x: Tensor, cap: float | None) -> Tensor:
    """cap * tanh(x / cap) in at least float32; x itself where cap is None."""
    if cap is None:
        return x
    return torch.tanh(x.to(torch.promote_types(x.dtype, torch.float32)) / cap) * cap


def softcap_gradient_(grad: Tensor, capped: Tensor, cap: float) -> Tensor:
    """The gradient of x, in place, from that of `capped` = cap * tanh(x / cap), which is overwritten too."""
    return grad.mul_(capped.div_(cap).square_().neg_().add_(1))


def capped_attention(
    q_BHLE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, *, cap: float, mask_B1LT: Tensor | None = None
) -> Tensor:
    """softmax(cap * tanh(q k^T / (sqrt(E) cap))) v, with scores and softmax in at least float32: y_BHLE.

    `mask_B1LT` says which keys a query sees; None: the queries are the last of the keys, and see those up to their own.
    Fused attention kernels have no cap: the scores of some queries at a time are made as they are, and a training step
    keeps those of all.
    """
    (batch, heads, length, _), keys = q_BHLE.shape, k_BKTE.shape[2]
    groups = k_BKTE.shape[1]
    out = []
    for start in range(0, length, QUERIES_AT_ONCE):
        end = min(start + QUERIES_AT_ONCE, length)
        seen = keys if mask_B1LT is not None else keys - length + end
        if mask_B1LT is None:
            every_LT = torch.ones(end - start, seen, dtype=torch.bool, device=q_BHLE.device)
            mask = every_LT.tril(keys - length + start)
        else:
            mask = mask_B1LT[:, :, start:end, None].transpose(2, 3)  # (B, 1, 1, L, T): the same for all heads
        q_BKGLE = q_BHLE[:, :, start:end].unflatten(1, (groups, heads // groups))
        scores_BKGLT = q_BKGLE * q_BHLE.shape[-1] ** -0.5 @ k_BKTE[:, :, None, :seen].transpose(-1, -2)
        scores_BKGLT = softcap(scores_BKGLT, cap).masked_fill(~mask, -torch.inf)
        out.append(scores_BKGLT.softmax(-1).to(v_BKTE.dtype) @ v_BKTE[:, :, None, :seen])
    return torch.cat(out, dim=3).view(batch, heads, length, -1)
