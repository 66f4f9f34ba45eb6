"""C++ built with the system's compiler at first use and kept in the user's cache. Needs the standard library alone.

A library is named after a digest of its sources, the flags, the compiler and the processor, so that a cache that
several machines share is right for each. It appears whole or not at all; processes that start together build it once.

| variable | meaning | default |
|---|---|---|
| STILLHOUSE_KERNEL_CACHE | folder of built libraries | `$XDG_CACHE_HOME/stillhouse`, `~/.cache/stillhouse` |
| CXX | the compiler | the first of g++, c++, clang++ that is installed |
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

COMPILERS = ("g++", "c++", "clang++")
FLAGS = ("-std=c++20", "-O2", "-march=native", "-fopenmp", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
BUILD_SECONDS = 600


class BuildError(RuntimeError):
    """A library cannot be built or loaded here; the message says why."""


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


def build(sources: Path, name: str) -> Path:
    """The path of the library that the folder `sources` makes, built if the cache does not hold it.

    Raises:
        BuildError: there is no compiler, it fails, or the cache folder cannot be written.
    """
    compiler = _compiler()
    units = sorted(sources.glob("*.cpp"))
    library = cache_folder() / f"{name}-{_digest(compiler, [*units, *sorted(sources.glob('*.h'))])}.so"
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
