"""The `cpu` backend of attention: csrc/attention_*.cpp. Shape suffixes as in kernels.attention."""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kernels import native

UNITS = 8
"""Heads that share keys are divided among threads until there is this much to divide. By shape alone: the sums of the
gradients of keys and values over heads must not depend on the number of threads."""


class _AttentionArgs(native.Arguments):
    _fields_ = native.fields(
        "batch heads kv_heads length keys head_dim block threads q_batch q_head q_row k_batch k_head k_row "
        "v_batch v_head v_row y_batch y_head y_row dy_batch dy_head dy_row dq_batch dq_head dq_row "
        "dkv_part dkv_batch dkv_head dkv_row",
        "q k v documents y normaliser dy dq dk dv",
        doubles="scale",
    )

    def heads_of(self, **tensors: Tensor) -> None:
        """Set pointers to tensors (batch, heads, length, E), and their steps."""
        self.point(**tensors)
        for name, tensor in tensors.items():
            for axis, step in zip(("batch", "head", "row"), tensor.stride(), strict=False):
                setattr(self, f"{name}_{axis}", step)


def _arguments(q_BHLE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, documents_BT: Tensor | None) -> _AttentionArgs:
    batch, heads, length, head_dim = q_BHLE.shape
    kv_heads, keys = k_BKTE.shape[1:3]
    per_group = heads // kv_heads
    parts = min(per_group, -(-UNITS // (batch * kv_heads)))
    arguments = _AttentionArgs(
        batch=batch,
        heads=heads,
        kv_heads=kv_heads,
        length=length,
        keys=keys,
        head_dim=head_dim,
        block=-(-per_group // parts),
        threads=torch.get_num_threads(),
        scale=head_dim**-0.5,
    )
    arguments.heads_of(q=q_BHLE, k=k_BKTE, v=v_BKTE)
    arguments.point(documents=documents_BT)
    return arguments


def _by_position(like_BHLE: Tensor, *parts: int) -> Tensor:
    """Room for a tensor of this shape whose heads lie side by side at each position, as projections have them."""
    batch, heads, length, head_dim = like_BHLE.shape
    return like_BHLE.new_empty(*parts, batch, length, heads, head_dim).transpose(-3, -2)


def _dense_rows(x_BHLE: Tensor) -> Tensor:
    return x_BHLE if x_BHLE.stride(-1) == 1 else x_BHLE.contiguous()


class _Attention(Function):
    @staticmethod
    def forward(ctx, q_BHLE, k_BKTE, v_BKTE, documents_BT):
        q_BHLE, k_BKTE, v_BKTE = map(_dense_rows, (q_BHLE, k_BKTE, v_BKTE))
        arguments = _arguments(q_BHLE, k_BKTE, v_BKTE, documents_BT)
        y_BHLE, normaliser_BHL = _by_position(q_BHLE), q_BHLE.new_empty(q_BHLE.shape[:3])
        arguments.heads_of(y=y_BHLE)
        arguments.point(normaliser=normaliser_BHL)
        native.call("attention_forward", q_BHLE.dtype, arguments)
        ctx.save_for_backward(q_BHLE, k_BKTE, v_BKTE, documents_BT, y_BHLE, normaliser_BHL)
        return y_BHLE

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y_BHLE):  # pyright: ignore[reportIncompatibleMethodOverride]
        q_BHLE, k_BKTE, v_BKTE, documents_BT, y_BHLE, normaliser_BHL = ctx.saved_tensors
        arguments = _arguments(q_BHLE, k_BKTE, v_BKTE, documents_BT)
        parts = -(-arguments.heads // arguments.kv_heads // arguments.block)
        grad_q_BHLE = _by_position(q_BHLE)
        grad_k_PBKTE, grad_v_PBKTE = _by_position(k_BKTE, parts), _by_position(v_BKTE, parts)
        grad_y_BHLE = _dense_rows(grad_y_BHLE)
        arguments.heads_of(y=y_BHLE, dy=grad_y_BHLE, dq=grad_q_BHLE)
        arguments.point(normaliser=normaliser_BHL, dk=grad_k_PBKTE, dv=grad_v_PBKTE)
        for axis, step in zip(("part", "batch", "head", "row"), grad_k_PBKTE.stride(), strict=False):
            setattr(arguments, f"dkv_{axis}", step)
        native.call("attention_backward", q_BHLE.dtype, arguments)
        return grad_q_BHLE, _over_parts(grad_k_PBKTE), _over_parts(grad_v_PBKTE), None


def _over_parts(grad_PBKTE: Tensor) -> Tensor:
    """The sum over parts, in their order."""
    total_BKTE, *rest = grad_PBKTE.unbind()
    for part_BKTE in rest:
        total_BKTE += part_BKTE
    return total_BKTE


def _narrow(seq_idx_BT: Tensor) -> Tensor:
    """As int32, which vectors of float32 are compared by. Raises ValueError for numbers that do not fit."""
    if seq_idx_BT.dtype == torch.int64:
        bounds = torch.iinfo(torch.int32)
        least, most = (int(bound) for bound in seq_idx_BT.aminmax())
        if least < bounds.min or most > bounds.max:
            raise ValueError(f"attention: seq_idx_BT must fit into 32 bits, got {least} to {most}")
    return seq_idx_BT.to(torch.int32).contiguous()


def native_attention(q_BHLE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, seq_idx_BT: Tensor | None) -> Tensor:
    """y_BHLE in the memory order of y_BLHE, as kernels.attention.attention."""
    documents_BT = None if seq_idx_BT is None else _narrow(seq_idx_BT)
    return _Attention.apply(q_BHLE, k_BKTE, v_BKTE, documents_BT)  # pyright: ignore[reportReturnType]
