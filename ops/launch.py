"""Where a stage runs: in this process, in a child, or in several under torchrun.

The child is `python -m ops.worker`. A launcher that wants the child's metrics while it runs (Dagster Pipes) brings its
own `start`, which is given the command and the variables to add to the environment, and returns the exit status.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.errors import StillhouseError
from ops.execute import Call
from ops.stage import StageResult
from ops.worker import read_result, write_call

ROOT = Path(__file__).resolve().parent.parent
THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
"""Threads that wait spin for some microseconds, then sleep. A training step on two cores: spinning for ever 8,700
tokens/s, this 7,100, sleeping at once 4,100; beside two busy processes spinning for ever takes 2.8 times as long."""

Start = Callable[[list[str], Mapping[str, str]], int]


class ChildFailed(StillhouseError):
    """The process of a launched stage died."""


def start_plainly(command: list[str], env: Mapping[str, str]) -> int:
    """Run the child with our standard output and error."""
    return subprocess.run(command, env={**os.environ, **env}, cwd=ROOT, check=False).returncode


@dataclass(frozen=True, kw_only=True)
class ChildProcess:
    """Launch a stage in a child process; one that divides its work, in `num_processes` of them under torchrun."""

    num_processes: int = 1
    worker: str = "ops.worker"
    start: Start = start_plainly

    def __call__(self, call: Call) -> StageResult:
        """
        Raises:
            InputError: the child met an error a user can act on.
            ChildFailed: the child died.
        """
        folder = call.out.with_name(f"{call.out.name}.call")
        folder.mkdir(parents=True, exist_ok=True)
        write_call(folder, call)
        status = self.start(self.command(folder, call), {"PYTHONPATH": str(ROOT), **THREADS})
        result = read_result(folder)
        if status != 0 or result is None:
            how = f"was killed by signal {-status}" if status < 0 else f"exited with {status}"
            raise ChildFailed(f"the process of stage {call.stage.name!r} {how}; its work is kept, run again to go on")
        shutil.rmtree(folder)
        return result

    def command(self, folder: Path, call: Call) -> list[str]:
        """The command line of the child."""
        target = ["-m", self.worker, str(folder)]
        if self.num_processes == 1 or not call.stage.distributed:
            return [sys.executable, *target]
        nproc = f"--nproc-per-node={self.num_processes}"
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", nproc, *target]
