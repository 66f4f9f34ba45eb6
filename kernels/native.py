"""The C++ kernels, built by `kernels.cpp` and called through ctypes."""

import ctypes
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels.cpp import BuildError, build

SOURCES = Path(__file__).parent / "csrc"
DTYPES = {torch.float32: "f32", torch.float64: "f64"}


@cache
def library() -> ctypes.CDLL | None:
    """The kernels of this process, or None, with one warning that says why, where they cannot be had."""
    try:
        return ctypes.CDLL(str(build(SOURCES, "kernels")))
    except (BuildError, OSError) as error:
        warnings.warn(f"the C++ kernels are not available, slower ones in torch are used: {error}", stacklevel=2)
        return None


def usable(device: torch.device) -> bool:
    """Whether the kernels run there: on CPU, built, and not while torch.compile traces."""
    return device.type == "cpu" and not torch.compiler.is_compiling() and library() is not None


class Arguments(ctypes.Structure):
    """A C struct of int64, double and pointer fields."""

    def point(self, **tensors: Tensor | None) -> None:
        """Set pointers to tensors, None to null."""
        for name, tensor in tensors.items():
            setattr(self, name, None if tensor is None else tensor.data_ptr())

    def rows(self, name: str, tensor: Tensor, prefix: str | None = None) -> None:
        """Set `name` to a tensor of shape (batch, length, ...), `<prefix>_batch` and `<prefix>_row` to its steps."""
        setattr(self, name, tensor.data_ptr())
        setattr(self, f"{prefix or name}_batch", tensor.stride(0))
        setattr(self, f"{prefix or name}_row", tensor.stride(1))


def fields(integers: str, pointers: str, doubles: str = "") -> list[tuple[str, Any]]:
    """Fields of a struct in this order: integers, doubles, pointers, given as names between blanks."""
    return [
        *((name, ctypes.c_int64) for name in integers.split()),
        *((name, ctypes.c_double) for name in doubles.split()),
        *((name, ctypes.c_void_p) for name in pointers.split()),
    ]


def call(function: str, dtype: torch.dtype, *arguments: Any) -> int:
    """Call a kernel for this type; structs go by reference, tensors as pointers. Returns what it returns, if that is
    a number."""
    loaded = library()
    assert loaded is not None, "the backend is not usable"
    return getattr(loaded, f"{function}_{DTYPES[dtype]}")(*(_passed(argument) for argument in arguments))


def _passed(argument: Any) -> Any:
    if isinstance(argument, Arguments):
        return ctypes.byref(argument)
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else argument


def inner_dense(tensor: Tensor) -> Tensor:
    """The tensor (batch, length, ...) if all axes behind the second are contiguous, else a copy of which that holds."""
    expected = 1
    for axis in range(tensor.ndim - 1, 1, -1):
        if tensor.shape[axis] != 1 and tensor.stride(axis) != expected:
            return tensor.contiguous()
        expected *= tensor.shape[axis]
    return tensor
