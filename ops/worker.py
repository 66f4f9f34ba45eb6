"""The child process of a launched stage: `python -m ops.worker FOLDER`, alone or under torchrun.

FOLDER holds `call.json`; rank 0 leaves `result.json` there, or `error.json` for an error a user can act on.
"""

import ctypes
import dataclasses
import fcntl
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ops.atomic import read_json, write_json
from ops.errors import InputError, StillhouseError
from ops.execute import Call, Stage, run_in_process
from ops.identity import decode, encode
from ops.stage import Execution, StageResult

CALL, RESULT, ERROR = "call.json", "result.json", "error.json"

PR_SET_PDEATHSIG = 1


def write_call(folder: Path, call: Call) -> None:
    """Leave everything a child needs in `folder`."""
    kind = type(call.config)
    execution = dataclasses.replace(call.execution, on_metrics=None)
    data = {
        "stage": encode(call.stage),
        "config_class": f"{kind.__module__}:{kind.__qualname__}",
        "config": encode(call.config),
        "inputs": {name: [str(path.resolve()) for path in paths] for name, paths in call.inputs.items()},
        "out": str(call.out.resolve()),
        "execution": encode(execution),
        "parent": os.getpid(),
    }
    for name in (RESULT, ERROR):
        (folder / name).unlink(missing_ok=True)
    write_json(folder / CALL, data)


def read_result(folder: Path) -> StageResult | None:
    """The result that a child left; None when it left none.

    Raises:
        InputError: the child met an error a user can act on.
    """
    if (folder / ERROR).exists():
        raise InputError(read_json(folder / ERROR)["message"])
    if not (folder / RESULT).exists():
        return None
    return decode(StageResult, read_json(folder / RESULT), str(folder / RESULT))


def work(folder: Path, on_metrics: Callable[[Mapping[str, Any]], None] | None = None) -> None:
    """Do what `call.json` says."""
    data = read_json(folder / CALL)
    die_with_parent(data["parent"] if "TORCHELASTIC_RUN_ID" not in os.environ else os.getppid())
    module, _, name = data["config_class"].partition(":")
    call = Call(
        stage=decode(Stage, data["stage"]),
        config=decode(getattr(importlib.import_module(module), name), data["config"]),
        inputs={name: [Path(path) for path in paths] for name, paths in data["inputs"].items()},
        out=Path(data["out"]),
        execution=dataclasses.replace(decode(Execution, data["execution"]), on_metrics=on_metrics),
    )
    rank = int(os.environ.get("RANK", "0"))
    with (folder / f"rank-{rank}.lock").open("w") as lock:
        # An orphan of a killed launcher may still be in `out`: never work beside it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run_in_process(call)
    if rank == 0:
        write_json(folder / RESULT, encode(result))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, so that no orphan goes on training (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit("the launcher is gone")


def main(folder: Path, on_metrics: Callable[[Mapping[str, Any]], None] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        work(folder, on_metrics)
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        write_json(folder / ERROR, {"message": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
