"""The C++ kernels: built with the system's compiler at first use, kept in the user's cache, called through ctypes.

The library is named after a digest of its sources, the flags, the compiler and the processor, so that a cache that
several machines share is right for each. It appears whole or not at all; processes that start together build it once.

| variable | meaning | default |
|---|---|---|
| STILLHOUSE_KERNEL_CACHE | folder of built libraries | `$XDG_CACHE_HOME/stillhouse`, `~/.cache/stillhouse` |
| CXX | the compiler | the first of g++, c++, clang++ that is installed |
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCES = Path(__file__).parent / "csrc"
COMPILERS = ("g++", "c++", "clang++")
FLAGS = ("-std=c++20", "-O2", "-march=native", "-fopenmp", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
DTYPES = {torch.float32: "f32", torch.float64: "f64"}
BUILD_SECONDS = 600


class BuildError(RuntimeError):
    """The kernels cannot be built or loaded here; the message says why."""


def cache_folder() -> Path:
    """Where built libraries are kept."""
    own = os.environ.get("STILLHOUSE_KERNEL_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stillhouse"


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout


def _compiler() -> str:
    chosen = os.environ.get("CXX")
    for name in [chosen] if chosen else COMPILERS:
        found = shutil.which(name)
        if found:
            return found
    raise BuildError(f"no C++ compiler: none of {', '.join([chosen] if chosen else COMPILERS)} is installed")


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    fields = (line.split(":", 1) for line in lines if ":" in line)
    wanted = {"cpu family", "model", "flags", "Features", "CPU part"}
    return "\n".join(sorted({f"{name.strip()}:{value}" for name, value in fields if name.strip() in wanted}))


def _digest(compiler: str, sources: list[Path]) -> str:
    digest = hashlib.sha256()
    for part in (*FLAGS, _run([compiler, "--version"]), platform.machine(), _processor()):
        digest.update(part.encode() + b"\0")
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def build() -> Path:
    """The path of the library, built if the cache does not hold it.

    Raises:
        BuildError: there is no compiler, it fails, or the cache folder cannot be written.
    """
    compiler = _compiler()
    units = sorted(SOURCES.glob("*.cpp"))
    library = cache_folder() / f"kernels-{_digest(compiler, [*units, *sorted(SOURCES.glob('*.h'))])}.so"
    if library.is_file():
        return library
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with library.with_suffix(".lock").open("w") as lock:
            _lock(lock.fileno())
            if not library.is_file():
                with tempfile.TemporaryDirectory(dir=library.parent, prefix=".build-") as folder:
                    _compile(compiler, units, Path(folder), library)
    except OSError as error:
        raise BuildError(
            f"{cache_folder()} cannot be written: {error}; STILLHOUSE_KERNEL_CACHE names another"
        ) from error
    return library


def _lock(file: int) -> None:
    """Wait until no other process builds, where the system has such locks (a second build does no harm)."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX)


def _compile(compiler: str, units: list[Path], folder: Path, library: Path) -> None:
    """Compile the units side by side, link them, and move the result to its place."""
    objects = [folder / f"{unit.stem}.o" for unit in units]
    commands = [[compiler, *FLAGS, "-c", str(u), "-o", str(o)] for u, o in zip(units, objects, strict=True)]
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    errors = [process.communicate()[1] for process in running]
    for command, process, error in zip(commands, running, errors, strict=True):
        if process.returncode:
            raise BuildError(f"{' '.join(command)} failed:\n{error.strip()}")
    linked = folder / library.name
    _run([compiler, *FLAGS, "-shared", *map(str, objects), "-o", str(linked)])
    os.replace(linked, library)


@cache
def library() -> ctypes.CDLL | None:
    """The kernels of this process, or None, with one warning that says why, where they cannot be had."""
    try:
        return ctypes.CDLL(str(build()))
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
