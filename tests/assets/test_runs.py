"""Runs of killed processes: closed by the next process, those of living ones left alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from assets.runs import HOST, PROCESS, close_dead_runs, process_tags

CHILD = """
import time
from assets.runs import process_tags
with process_tags() as tags:
    print(*tags.values(), flush=True)
    time.sleep(600)
"""


def test_a_killed_process_leaves_no_run_that_seems_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    with dg.DagsterInstance.ephemeral() as instance, process_tags() as own:
        child = subprocess.Popen([sys.executable, "-c", CHILD], env=env, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        host, name = child.stdout.readline().split()
        started = dg.DagsterRunStatus.STARTED
        theirs, mine, elsewhere, foreign = (
            create_run_for_test(instance, job_name="job", status=started, tags=tags).run_id
            for tags in ({HOST: host, PROCESS: name}, own, {HOST: "another", PROCESS: "gone"}, {})
        )
        assert close_dead_runs(instance) == []
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert close_dead_runs(instance) == [theirs]
        statuses = {run.run_id: run.status for run in instance.get_runs()}
        assert statuses == {
            theirs: dg.DagsterRunStatus.FAILURE,
            mine: started,
            elsewhere: started,
            foreign: started,
        }
        assert close_dead_runs(instance) == []
        assert len(list(tmp_path.glob("*.lock"))) == 1, "our own"
    assert list(tmp_path.glob("*.lock")) == []
