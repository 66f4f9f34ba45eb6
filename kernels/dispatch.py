"""Choice between implementations of one operation.

Every operation of this package has a `ref` backend (a plain recurrence or formula that runs in float64: the
oracle of the tests) and a `torch` backend (differentiable, fast enough, any device). Further backends register
themselves under the names of `AUTO_ORDER`, each with a test of the devices, and the types, that it serves:

| backend | what it is | where |
|---|---|---|
| triton | own kernels in Triton | CUDA; on CPU by name alone, where TRITON_INTERPRET=1 lets triton interpret them |
| mamba_ssm | the kernels of the package mamba-ssm | CUDA, where it is installed |
| amx | products of matrices in C++, see kernels.matmul | CPU with AMX |
| cpu | own kernels in C++, see kernels.native | CPU |
| torch | torch alone | everywhere |

`STILLHOUSE_KERNELS` in the environment replaces the order that `backend="auto"` goes by, e.g. `torch` or `cpu,torch`.
Which backend runs is execution, not identity, yet they round differently: a run that has to repeat another one bit for
bit needs the same backends.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., object])

# What `backend="auto"` prefers, best first. `ref` is never chosen: it is the oracle.
AUTO_ORDER = ("triton", "mamba_ssm", "amx", "cpu", "torch")


def _everywhere(device: torch.device) -> bool:
    return True


def auto_order() -> tuple[str, ...]:
    """The backends that `auto` may take, best first.

    Raises ValueError for a name in STILLHOUSE_KERNELS that is not in AUTO_ORDER.
    """
    chosen = os.environ.get("STILLHOUSE_KERNELS")
    if not chosen:
        return AUTO_ORDER
    names = tuple(name.strip() for name in chosen.split(","))
    unknown = [name for name in names if name not in AUTO_ORDER]
    if unknown:
        raise ValueError(f"STILLHOUSE_KERNELS: unknown backend {unknown[0]!r}; known: {', '.join(AUTO_ORDER)}")
    return names


@dataclass(frozen=True, kw_only=True)
class _Backend(Generic[F]):
    function: F
    usable: Callable[[torch.device], bool]
    preferred: Callable[[torch.device], bool]
    dtypes: frozenset[torch.dtype] | None
    mixed: bool

    def takes(self, dtypes: tuple[torch.dtype, ...]) -> bool:
        return self.dtypes is None or ((self.mixed or len(set(dtypes)) <= 1) and self.dtypes.issuperset(dtypes))


class Operation(Generic[F]):
    """One operation and its registered backends, all of the same signature."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._backends: dict[str, _Backend[F]] = {}

    def register(
        self,
        backend: str,
        *,
        usable: Callable[[torch.device], bool] = _everywhere,
        preferred: Callable[[torch.device], bool] | None = None,
        dtypes: Iterable[torch.dtype] | None = None,
        mixed: bool = False,
    ) -> Callable[[F], F]:
        """Register the decorated function; `usable(device)` says whether it can run there, `preferred(device)` whether
        `auto` may take it there (None: wherever it can run), `dtypes` for which types (None: all); the tensors of a
        call must then be of one of them alone, unless `mixed`."""
        if backend in self._backends:
            raise ValueError(f"{self.name}: backend {backend!r} is already registered")

        def decorate(function: F) -> F:
            types = None if dtypes is None else frozenset(dtypes)
            self._backends[backend] = _Backend(
                function=function, usable=usable, preferred=preferred or usable, dtypes=types, mixed=mixed
            )
            return function

        return decorate

    def backends(self, device: torch.device | str = "cpu") -> list[str]:
        """Names of the backends that can run on `device`, in order of registration."""
        device = torch.device(device)
        return [name for name, backend in self._backends.items() if backend.usable(device)]

    def select(self, backend: str, device: torch.device, *dtypes: torch.dtype) -> F:
        """The function for `backend` on `device` with tensors of these types.

        Raises ValueError for a backend that is unknown, and RuntimeError for one that cannot run there.
        """
        if backend == "auto":
            for name in auto_order():
                found = self._backends.get(name)
                if found is not None and found.takes(dtypes) and found.preferred(device):
                    return found.function
            raise RuntimeError(f"{self.name}: no backend runs on {device}")
        if backend not in self._backends:
            known = ", ".join(["auto", *self._backends])
            raise ValueError(f"{self.name}: unknown backend {backend!r}; known: {known}")
        found = self._backends[backend]
        if not found.usable(device):
            raise RuntimeError(f"{self.name}: backend {backend!r} cannot run on {device}")
        if not found.takes(dtypes):
            names = ", ".join(dict.fromkeys(str(dtype).removeprefix("torch.") for dtype in dtypes))
            raise RuntimeError(f"{self.name}: backend {backend!r} cannot run on tensors of {names}")
        return found.function
