"""What the Triton kernels share. Importing this module does not import triton, which is optional (extra `triton`).

The kernels are written for CUDA and are tested on CPU by Triton's interpreter, which TRITON_INTERPRET=1 chooses before
triton is imported. All arithmetic is in at least float32; matrix products take operands in the type of the inputs and
add up in float32. Products of float32 operands are exact (`ieee`) unless `torch.set_float32_matmul_precision` allows
TensorFloat-32. Sums over programs are made from partial sums in a fixed order, never by atomic additions.

Launch parameters are chosen by timing at the first call with a new shape. They may change the order of sums inside a
program: with `torch.use_deterministic_algorithms(True)` before that call the first configuration is taken, and a run
repeats bit for bit.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])


@cache
def installed() -> bool:
    """Whether triton can be imported."""
    return find_spec("triton") is not None


@cache
def interpreted() -> bool:
    """Whether the kernels of this process run in Triton's interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def usable(device: torch.device) -> bool:
    """Whether the kernels run there: on CUDA, and in the interpreter on CPU."""
    return (device.type == "cuda" or (device.type == "cpu" and interpreted())) and installed()


def preferred(device: torch.device) -> bool:
    """Whether `auto` takes them there: the interpreter is for tests alone."""
    return device.type == "cuda" and not interpreted() and installed()


DTYPES = (torch.float32, torch.bfloat16, torch.float16, *((torch.float64,) if interpreted() else ()))
"""Types that the kernels serve, mixed as they come; float64 is for tests of the algorithm."""

REGISTRATION: dict[str, Any] = {"usable": usable, "preferred": preferred, "dtypes": DTYPES, "mixed": True}
"""How a `triton` backend is registered."""


def kernel(function: Callable[..., Any]) -> Any:
    """`triton.jit`: `kernel[grid](...)` launches the decorated function, other kernels call it."""
    import triton

    return triton.jit(function)


def untraced(function: F) -> F:
    """torch.compile calls the decorated function and does not look inside."""
    disabled: Any = function if interpreted() else torch.compiler.disable(function)
    return disabled


def tuned(options: Sequence[Mapping[str, int]], key: Sequence[str]) -> Callable[[Any], Any]:
    """`triton.autotune` over launch options (num_warps, num_stages, and constants of the kernel by their names).

    The interpreter takes the first without a measurement: it has no device to measure on.
    """
    import triton

    launch = ("num_warps", "num_stages")
    configs = [
        triton.Config(
            {name: value for name, value in option.items() if name not in launch},
            **{name: option[name] for name in launch if name in option},
        )
        for option in options
    ]
    if interpreted():
        return triton.autotune(configs=configs[:1], key=list(key))
    return triton.autotune(configs=configs, key=list(key), prune_configs_by={"early_config_prune": _admitted})


def _admitted(configs: list[Any], named_args: Any, **options: Any) -> list[Any]:
    return configs[:1] if torch.are_deterministic_algorithms_enabled() else configs


def on(tensor: Tensor) -> AbstractContextManager[Any]:
    """Kernels go to the device of this tensor."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def work_dtype(*tensors: Tensor | None) -> torch.dtype:
    """The type of sums and of what is kept between kernels: float32, float64 where an input has it."""
    wide = any(tensor is not None and tensor.dtype == torch.float64 for tensor in tensors)
    return torch.float64 if wide else torch.float32


def dot_dtype(*tensors: Tensor) -> torch.dtype:
    """The type of the operands of matrix products: that of the tensors if they agree, else the sums' type."""
    dtypes = {tensor.dtype for tensor in tensors}
    return dtypes.pop() if len(dtypes) == 1 else work_dtype(*tensors)


def triton_type(dtype: torch.dtype) -> Any:
    """The same type as a constant of a kernel. The interpreter multiplies half-precision numbers wrongly and gets
    float32 in their place."""
    import triton.language as tl

    if interpreted() and dtype in (torch.bfloat16, torch.float16):
        return tl.float32
    return getattr(tl, str(dtype).removeprefix("torch."))


def precision() -> str:
    """How matrix products treat float32 operands."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def blocks(length: int, block: int) -> int:
    """How many blocks hold `length`."""
    return -(-length // block)


def padded(size: int, least: int = 1) -> int:
    """The power of two that holds `size`, and is at least `least` (matrix products need 16)."""
    return max(least, 1 << max(0, size - 1).bit_length())
