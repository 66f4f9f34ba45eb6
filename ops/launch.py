"""Where a stage runs: in this process, in a child, or in several under torchrun.

The child is `python -m ops.worker`. A launcher that wants the child's metrics while it runs (Dagster Pipes) brings its
own `start`, which is given the command and the environment and returns the exit status and the end of its output.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.errors import InputError, StillhouseError
from ops.execute import Call
from ops.stage import StageResult
from ops.worker import USER_ERROR, read_result, write_call

ROOT = Path(__file__).resolve().parent.parent
Start = Callable[[list[str], Mapping[str, str]], None]
"""Runs the command with these variables added; raises `ChildFailed` when it does not exit with 0."""


class ChildFailed(StillhouseError):
    """The child of a launched stage ended with an error."""

    def __init__(self, status: int, last_words: str = "") -> None:
        self.status = status
        what = f"killed by signal {-status}" if status < 0 else f"exited with {status}"
        super().__init__(
            f"the stage's process was {what}" if status < 0 else f"the stage's process {what}: {last_words}"
        )


def start_plainly(command: list[str], env: Mapping[str, str]) -> None:
    """Run the child with our standard output; keep the end of its standard error for the message."""
    done = subprocess.run(command, env={**os.environ, **env}, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise ChildFailed(done.returncode, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "")


@dataclass(frozen=True, kw_only=True)
class ChildProcess:
    """Launch a stage in a child process, or in `num_processes` of them under torchrun."""

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
        try:
            self.start(self.command(folder), {"PYTHONPATH": str(ROOT)})
        except ChildFailed as error:
            if error.status == USER_ERROR:
                raise InputError(str(error)) from error
            raise
        result = read_result(folder)
        shutil.rmtree(folder)
        return result

    def command(self, folder: Path) -> list[str]:
        target = ["-m", self.worker, str(folder)]
        if self.num_processes == 1:
            return [sys.executable, *target]
        nproc = f"--nproc-per-node={self.num_processes}"
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", nproc, *target]
