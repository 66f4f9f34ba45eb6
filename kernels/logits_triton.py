"""What the Triton kernels of the losses do with rows of logits, a block of the vocabulary at a time.

A logit of minus infinity is no outcome, capped or not. Caps are those of kernels.softcap. Shape suffixes: T tokens,
V vocabulary (of a block).
"""

import triton.language as tl
from torch import Tensor

from kernels.triton_support import kernel, padded, triton_type, work_dtype

MOST_BLOCK = 4096
"""Logits that a program holds at once, at most."""


def block(count: int) -> int:
    """How many of a row of `count` numbers a program holds at once."""
    return min(MOST_BLOCK, padded(count))


def options(logits_TV: Tensor, *, gradient: bool) -> dict[str, object]:
    """Of a launch with one program per row."""
    held, work = block(logits_TV.shape[1]), triton_type(work_dtype(logits_TV))
    return {"GRADIENT": gradient, "WORK": work, "BLOCK": held, "num_warps": 8 if held >= 2048 else 4}


@kernel
def capped(logit_V, CAP: tl.constexpr):
    """CAP * tanh(logit / CAP) without overflow; triton has no tanh of its own."""
    if CAP is not None:
        fall_V = tl.exp(tl.abs(logit_V) * (-2.0 / CAP))
        size_V = (1.0 - fall_V) / (1.0 + fall_V) * CAP
        finite_V = tl.where(logit_V < 0.0, -size_V, size_V)
        logit_V = tl.where(logit_V > float("-inf"), finite_V, logit_V)
    return logit_V


@kernel
def uncapped(grad_V, logit_V, CAP: tl.constexpr):
    """The gradient of logits from that of capped ones."""
    if CAP is not None:
        grad_V = grad_V * (1.0 - (logit_V / CAP) * (logit_V / CAP))
    return grad_V


@kernel
def load_logits(row_ptr, at_V, inside_V, outside, CAP: tl.constexpr, WORK: tl.constexpr):
    """(Capped) logits."""
    return capped(tl.load(row_ptr + at_V, mask=inside_V, other=outside).to(WORK), CAP)


@kernel
def log_sum_exp(row_ptr, count, scale, CAP: tl.constexpr, WORK: tl.constexpr, BLOCK: tl.constexpr):
    """log(sum(exp(scale * logit))) of a row; minus infinity where it has no outcome."""
    most = tl.full((), float("-inf"), WORK)
    total = tl.full((), 0.0, WORK)
    for start in range(0, count, BLOCK):
        at_V = start + tl.arange(0, BLOCK)
        logit_V = load_logits(row_ptr, at_V, at_V < count, float("-inf"), CAP, WORK) * scale
        next_most = tl.maximum(most, tl.max(logit_V, 0))
        origin = tl.where(next_most > float("-inf"), next_most, 0.0)
        total = total * tl.exp(most - origin) + tl.sum(tl.exp(logit_V - origin), 0)
        most = next_most
    return tl.where(most > float("-inf"), most, 0.0) + tl.log(total)


@kernel
def log_add(a, b):
    """log(exp(a) + exp(b)); one of them at least is finite."""
    most = tl.maximum(a, b)
    return most + tl.log(tl.exp(a - most) + tl.exp(b - most))
