"""Making an artefact: one winner, nothing half there, whoever is killed and whatever is full."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ops.errors import InputError, StoreError
from ops.execute import Request, execute, execute_many, find
from ops.launch import ChildFailed, ChildProcess
from ops.store import Record, Store
from tests.ops import crawl_servers, stores
from tests.ops.stores import HERE, TOY, request
from tests.ops.toy import ToyConfig

moto_server, s3_endpoint, store = crawl_servers.moto_server, crawl_servers.s3_endpoint, stores.store


def test_of_two_writers_one_wins_and_both_serve_its_record(store: Store, tmp_path: Path) -> None:
    """As on two machines: each has a work directory of its own, so that no lock keeps them apart."""
    others = [store, Store(store.url, scratch=tmp_path / "elsewhere", storage_options=store.fs.storage_options)]
    works, records = [], []
    for index, writer in enumerate(others):
        source = Store(str(tmp_path / f"made-{index}"))
        made = execute(source, request(), HERE).record
        work = writer.scratch / f".work-{index}"
        work.parent.mkdir(parents=True, exist_ok=True)
        (Path(source.root) / made.id.path).rename(work)
        works.append(work)
        records.append(made)
    assert records[0].files["times"] != records[1].files["times"]
    served: list[Record] = []
    threads = [
        threading.Thread(target=lambda i=i: served.append(others[i].publish(works[i], records[i]))) for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(served) == 2
    assert served[0] == served[1] == store.get(records[0].id)
    assert store.verify(served[0]) == []
    assert not any(work.exists() for work in works)


def test_two_processes_at_one_artefact_make_it_once(tmp_path: Path) -> None:
    code = (
        "from ops.execute import *; from ops.stage import Execution; from tests.ops.stores import request, Store\n"
        f"outcome = execute(Store({str(tmp_path)!r}), request(files=300), Execution())\n"
        "print(outcome.reused, outcome.record.files['times'].sha256)"
    )
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [child.communicate(timeout=120)[0].split() for child in children]
    assert sorted(reused for reused, _ in told) == ["False", "True", "True"]
    assert len({digest for _, digest in told}) == 1


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_killed_attempt_is_gone_on_from_and_ends_with_the_same_digest(tmp_path: Path, stop: int) -> None:
    undisturbed = execute(Store(str(tmp_path / "calm")), request(), HERE).record
    store = Store(str(tmp_path / "store"))
    code = (
        "from ops.execute import *; from ops.stage import Execution; from tests.ops.stores import request, Store\n"
        f"execute(Store({store.root!r}), request(), Execution())"
    )
    env = {**os.environ, "STILLHOUSE_TOY_STOP": str(stop)}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == -9
    assert find(store, request(), HERE) is None
    record = execute(store, request(), HERE).record
    assert record.cost.resumed
    assert record.summary["written"] == 3 - stop
    assert record.digest == undisturbed.digest
    assert set(record.files) == set(undisturbed.files)


def test_a_failed_stage_leaves_no_record_and_keeps_its_message(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(InputError, match="row 7 is bad"):
        execute(store, request(error="row 7 is bad"), HERE)
    assert list(store.records()) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "cannot be written"), (errno.EACCES, "cannot")],
)
def test_a_full_disk_and_a_read_only_store_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tests.ops.toy.run.write_bytes", refuse)
    with pytest.raises(StoreError, match=message):
        execute(Store(str(tmp_path)), request(), HERE)
    monkeypatch.undo()
    assert not execute(Store(str(tmp_path)), request(), HERE).reused


def test_a_really_full_disk(tmp_path: Path) -> None:
    """On a file system of 64 kB, where this machine lets us mount one."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        with pytest.raises(StoreError, match="no space left"):
            execute(Store(str(small)), request(files=4, text="x" * 40_000), HERE)
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        with pytest.raises(StoreError, match="cannot be written"):
            execute(Store(str(small)), request(), HERE)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_child_process_gives_the_same_artefact_and_passes_errors_on(tmp_path: Path) -> None:
    here = execute(Store(str(tmp_path / "here")), request(), HERE).record
    store = Store(str(tmp_path / "child"))
    there = execute(store, request(), HERE, launch=ChildProcess()).record
    assert (there.digest, there.fingerprint, there.checks) == (here.digest, here.fingerprint, here.checks)
    with pytest.raises(InputError, match="row 7 is bad"):
        execute(store, request(error="row 7 is bad"), HERE, launch=ChildProcess())


def test_a_killed_child_is_reported_and_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    monkeypatch.setenv("STILLHOUSE_TOY_STOP", "2")
    with pytest.raises(ChildFailed, match="killed by signal 9; its work is kept"):
        execute(store, request(), HERE, launch=ChildProcess())
    monkeypatch.delenv("STILLHOUSE_TOY_STOP")
    assert execute(store, request(), HERE, launch=ChildProcess()).record.summary["written"] == 1


def test_many_requests_in_processes_come_back_in_order(tmp_path: Path) -> None:
    requests = [Request(asset="a", partition=f"C|{i:02d}", stage=TOY, config=ToyConfig()) for i in range(5)]
    alone = [o.record.id for o in execute_many(Store(str(tmp_path / "1")), requests, HERE)]
    beside = [o.record.id for o in execute_many(Store(str(tmp_path / "2")), requests, HERE, num_processes=2)]
    assert alone == beside
    assert [artifact.partition for artifact in alone] == [f"C|{i:02d}" for i in range(5)]
