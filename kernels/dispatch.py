"""Choice between implementations of one operation.

Every operation of this package has a `ref` backend (a plain recurrence or formula that runs in float64: the
oracle of the tests) and a `torch` backend (differentiable, fast enough, any device). Further backends register
themselves under the names of `AUTO_ORDER`, each with a test of the devices that it serves.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., object])

# What `backend="auto"` prefers, best first. `ref` is never chosen: it is the oracle.
AUTO_ORDER = ("triton", "cpu", "torch")


def _everywhere(device: torch.device) -> bool:
    return True


class Operation(Generic[F]):
    """One operation and its registered backends, all of the same signature."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._backends: dict[str, tuple[F, Callable[[torch.device], bool]]] = {}

    def register(self, backend: str, *, usable: Callable[[torch.device], bool] = _everywhere) -> Callable[[F], F]:
        """Register the decorated function; `usable(device)` says whether it can run there."""
        if backend in self._backends:
            raise ValueError(f"{self.name}: backend {backend!r} is already registered")

        def decorate(function: F) -> F:
            self._backends[backend] = (function, usable)
            return function

        return decorate

    def backends(self, device: torch.device | str = "cpu") -> list[str]:
        """Names of the backends that can run on `device`, in order of registration."""
        device = torch.device(device)
        return [name for name, (_, usable) in self._backends.items() if usable(device)]

    def select(self, backend: str, device: torch.device) -> F:
        """The function for `backend` on `device`.

        Raises ValueError for a backend that is unknown, and RuntimeError for one that cannot run there.
        """
        if backend == "auto":
            for name in AUTO_ORDER:
                if name in self._backends and self._backends[name][1](device):
                    return self._backends[name][0]
            raise RuntimeError(f"{self.name}: no backend runs on {device}")
        if backend not in self._backends:
            known = ", ".join(["auto", *self._backends])
            raise ValueError(f"{self.name}: unknown backend {backend!r}; known: {known}")
        function, usable = self._backends[backend]
        if not usable(device):
            raise RuntimeError(f"{self.name}: backend {backend!r} cannot run on {device}")
        return function
