"""Triton for a GPU that is not there: kernels are compiled to its machine code with all options of theirs, and no
launch does anything."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple


class Compiled(NamedTuple):
    """One kernel as the driver would load it."""

    name: str
    code: bytes
    shared: int


@contextmanager
def compiling_for(capability: int, shared_memory: int) -> Iterator[list[Compiled]]:
    """Within, kernels on CPU tensors are compiled for CUDA devices of this compute capability (90: H100), and launched
    without effect; the list receives each. Those that need more than `shared_memory` bytes raise what they would there.
    """
    from triton.backends.compiler import GPUTarget
    from triton.backends.driver import DriverBase
    from triton.runtime import driver

    compiled: list[Compiled] = []

    def load_binary(name: str, code: bytes, shared: int, device: int) -> tuple[int, int, int, int, int]:
        compiled.append(Compiled(name, code, shared))
        return 1, 1, 0, 0, 1024

    class Offline(DriverBase):
        utils = SimpleNamespace(
            get_device_properties=lambda device: {"max_shared_mem": shared_memory, "multiprocessor_count": 1},
            load_binary=load_binary,
        )

        @classmethod
        def is_active(cls) -> Any:
            return True

        def map_python_to_cpp_type(self, ty: str) -> str:
            raise NotImplementedError

        def get_current_target(self) -> Any:
            return GPUTarget("cuda", capability, 32)

        def get_active_torch_device(self) -> Any:
            raise NotImplementedError

        def get_current_device(self) -> int:
            return capability  # kernels are kept by device

        def get_current_stream(self, device: int) -> int:
            return 0

        def launcher_cls(self, source: Any, metadata: Any) -> Callable[..., None]:
            return lambda *arguments: None

        def get_benchmarker(self) -> Callable[..., list[float]]:
            def once(call: Callable[[], object], **options: Any) -> list[float]:
                call()
                return [1.0, 1.0, 1.0]

            return once

    before = driver._active
    driver.set_active(Offline())
    try:
        yield compiled
    finally:
        driver._active = before
