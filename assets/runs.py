"""The runs of a process that executes them itself, and what a killed one left.

Nobody watches such a run: when its process is killed, Dagster would take it for going on, and count it against the
limit of runs for ever. So every run carries the name of a lock that its process holds while it lives.
"""

import fcntl
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

HOST, PROCESS = "stillhouse/host", "stillhouse/process"


@contextmanager
def process_tags() -> Iterator[dict[str, str]]:
    """Tags for the runs of this process; they hold good inside the context."""
    name = uuid.uuid4().hex
    path = _lock_path(name)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield {HOST: socket.gethostname(), PROCESS: name}
        finally:
            path.unlink()


def close_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report runs of this host whose process is gone as failed and free their pool slots. Returns their ids."""
    unfinished = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES, tags={HOST: socket.gethostname()}))
    dead = [run for run in unfinished if not _is_held(_lock_path(run.tags[PROCESS]))]
    for run in dead:
        instance.report_run_failed(run, "The process of this run was killed. What it had finished is in the store.")
        if instance.event_log_storage.supports_global_concurrency_limits:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        _lock_path(run.tags[PROCESS]).unlink(missing_ok=True)
    return [run.run_id for run in dead]


def _lock_path(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"stillhouse-{name}.lock"


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
