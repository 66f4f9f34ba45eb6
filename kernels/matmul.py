"""Products of matrices: torch's, or on a CPU that has AMX those of csrc/matmul.cpp, which are as exact in float32 (they
are put together from products of bfloat16 pieces) and faster, where the core is not shared: on a virtual machine with
neighbours tiles fell to a third of their speed for seconds, and the products behind torch's. `STILLHOUSE_KERNELS`
without `amx` leaves them out.

Shape suffixes: M, N rows and columns of the result, K what is summed over.
"""

from functools import cache

import torch
from torch import Tensor

from kernels import native
from kernels.dispatch import auto_order

LEAST_SIDE = 128
"""Of M, N, K: with 96 packing cost a training step more (103 ms) than tiles saved (90)."""

_SQUARED_RELU, _SQUARED_RELU_GRADIENT = 1, 2


class _MatmulArgs(native.Arguments):
    _fields_ = native.fields(
        "m n k threads add then left_row left_k right_column right_k out_row squares_row", "left right squares out"
    )


@cache
def _tiles_usable() -> bool:
    """Whether processor, compiler and system let this process use AMX."""
    loaded = native.library()
    return loaded is not None and bool(loaded.matmul_usable())


def usable(device: torch.device) -> bool:
    """Whether the products of csrc/matmul.cpp run there."""
    return native.usable(device) and _tiles_usable()


def large_enough(m: int, n: int, k: int) -> bool:
    """Whether packing pays. The sides may be given in any order."""
    return min(m, n, k) >= LEAST_SIDE


def matmul(left_MK: Tensor, right_KN: Tensor, *, out_MN: Tensor | None = None, add: bool = False) -> Tensor:
    """left @ right, without gradients; written to `out_MN`, or added to it with `add`.

    Bits of a result depend on its row, its column and K, and on whether the whole is large enough for AMX; not on the
    number of threads.
    """
    if out_MN is None:
        out_MN = left_MK.new_empty(left_MK.shape[0], right_KN.shape[1])
    if not _fits(left_MK, right_KN, out_MN):
        return out_MN.addmm_(left_MK, right_KN) if add else torch.mm(left_MK, right_KN, out=out_MN)
    return _by_tiles(left_MK, right_KN, out_MN, add=int(add))


def squared_relu_of_product(left_MK: Tensor, right_KN: Tensor) -> Tensor:
    """max(left @ right, 0)^2 by csrc/matmul.cpp."""
    out_MN = left_MK.new_empty(left_MK.shape[0], right_KN.shape[1])
    return _by_tiles(left_MK, right_KN, out_MN, then=_SQUARED_RELU)


def squared_relu_gradient_of_product(left_MK: Tensor, right_KN: Tensor, squares_MN: Tensor) -> Tensor:
    """The gradient in x where left @ right is that in `squares` = max(x, 0)^2: 2 sqrt(squares) * (left @ right), by
    csrc/matmul.cpp."""
    out_MN = torch.empty_like(squares_MN)
    return _by_tiles(left_MK, right_KN, out_MN, squares_MN, then=_SQUARED_RELU_GRADIENT)


def _by_tiles(
    left_MK: Tensor, right_KN: Tensor, out_MN: Tensor, squares_MN: Tensor | None = None, **options: int
) -> Tensor:
    left_MK, right_KN = (factor if 1 in factor.stride() else factor.contiguous() for factor in (left_MK, right_KN))
    arguments = _MatmulArgs(
        m=left_MK.shape[0],
        n=right_KN.shape[1],
        k=left_MK.shape[1],
        threads=torch.get_num_threads(),
        left_row=left_MK.stride(0),
        left_k=left_MK.stride(1),
        right_column=right_KN.stride(1),
        right_k=right_KN.stride(0),
        out_row=out_MN.stride(0),
        squares_row=0 if squares_MN is None else squares_MN.stride(0),
        **options,
    )
    arguments.point(left=left_MK, right=right_KN, squares=squares_MN, out=out_MN)
    native.call("matmul", out_MN.dtype, arguments)
    return out_MN


def _fits(left_MK: Tensor, right_KN: Tensor, out_MN: Tensor) -> bool:
    return (
        large_enough(out_MN.shape[0], out_MN.shape[1], left_MK.shape[1])
        and all(tensor.dtype == torch.float32 for tensor in (left_MK, right_KN, out_MN))
        and usable(out_MN.device)
        and "amx" in auto_order()
        and out_MN.stride(1) == 1
    )
