"""The store: sealed records, one winner, nothing half there, errors that say what to do."""

import errno
import json
import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from ops.errors import ArtifactCorrupt, ArtifactMissing, ArtifactRejected, InputError, StoreError
from ops.execute import Request, Stage, execute, execute_many, find, identify
from ops.launch import ChildFailed, ChildProcess
from ops.stage import Execution
from ops.store import ArtifactId, Record, Store
from ops.store import __main__ as cli
from ops.store.adopt import adopt
from ops.store.lineage import ancestors, collectable, descendants
from tests.ops.toy import ToyConfig

TOY = Stage(package="tests.ops.toy", version="1")
HERE = Execution()


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return Store(str(tmp_path / "store"))
    if request.param == "memory":
        return Store(f"memory://{uuid.uuid4().hex}", scratch=tmp_path / "scratch")
    endpoint = request.getfixturevalue("s3_endpoint")
    name = f"s3://bucket/{uuid.uuid4().hex}"
    return Store(name, scratch=tmp_path / "scratch", storage_options={"endpoint_url": endpoint})


@pytest.fixture(scope="session")
def s3_endpoint():
    from moto.server import ThreadedMotoServer

    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    import s3fs

    s3fs.S3FileSystem(endpoint_url=f"http://{host}:{port}").mkdir("bucket")
    yield f"http://{host}:{port}"
    server.stop()
    patch.undo()


def request(asset: str = "a", **config) -> Request:
    return Request(asset=asset, stage=TOY, config=ToyConfig(**config))


def test_a_finished_artefact_is_reused_and_verifies(store: Store) -> None:
    first = execute(store, request(), HERE)
    again = execute(store, request(), HERE)
    assert (first.reused, again.reused) == (False, True)
    assert again.record == first.record
    assert store.get(first.record.id) == first.record
    assert store.verify(first.record) == []
    assert [record.id for record in store.records()] == [first.record.id]
    local = store.local_path(first.record)
    assert (local / "file-2").read_text() == "x 2 "
    assert Record.from_json((local / "record.json").read_bytes(), "there") == first.record
    assert store.local_path(first.record) == local


def test_digest_covers_content_and_leaves_out_what_is_volatile(store: Store) -> None:
    left = execute(store, request("a"), HERE).record
    right = execute(store, request("b"), HERE).record
    other = execute(store, request("a", text="y"), HERE).record
    assert left.digest == right.digest != other.digest
    assert left.files["times"].volatile
    assert left.files["times"].sha256 != right.files["times"].sha256


def test_identity_follows_config_stage_version_partition_and_parents_content(store: Store) -> None:
    parent = execute(store, request("p"), HERE).record
    changed = execute(store, request("p", text="y"), HERE).record
    twin = execute(store, request("q"), HERE).record
    requests = [
        request(),
        request(text="y"),
        Request(asset="a", stage=Stage(package="tests.ops.toy", version="2"), config=ToyConfig()),
        Request(asset="a", partition="C|00", stage=TOY, config=ToyConfig()),
        Request(asset="a", stage=TOY, config=ToyConfig(), inputs={"up": [parent]}),
        Request(asset="a", stage=TOY, config=ToyConfig(), inputs={"up": [changed]}),
        Request(asset="a", stage=TOY, config=ToyConfig(), inputs={"up": [twin]}),
    ]
    assert len({identify(item, HERE)[1] for item in requests}) == len(requests)
    processes = Execution(num_processes=7, device="cuda", threads=9)
    assert [identify(item, HERE) for item in requests] == [identify(item, processes) for item in requests]
    assert ArtifactId(asset="a", partition="C|00", version="1-0").path == "a/C/00/1-0"


def test_what_a_stage_observes_outside_the_store_is_identity(tmp_path: Path) -> None:
    stage = Stage(package="tests.ops.toy", version="1", observes=True)
    wanted = Request(asset="a", stage=stage, config=ToyConfig())
    source = tmp_path / "source"
    source.write_text("one")
    moved = tmp_path / "moved"
    moved.write_text("one")
    first, second = (identify(wanted, Execution(source=str(path)))[1] for path in (source, moved))
    source.write_text("two")
    assert first == second != identify(wanted, Execution(source=str(source)))[1]


def test_a_rejected_artefact_is_kept_served_and_feeds_no_child(store: Store) -> None:
    outcome = execute(store, request(reject=True), HERE)
    assert outcome.record.status == "rejected"
    assert execute(store, request(reject=True), HERE).reused
    assert find(store, request(reject=True), HERE) == outcome.record
    with pytest.raises(ArtifactRejected, match="good"):
        store.get(outcome.record.id)


def test_a_missing_artefact_is_named(store: Store) -> None:
    with pytest.raises(ArtifactMissing, match="a@1-0"):
        store.get(ArtifactId(asset="a", version="1-0"))


def test_a_record_edited_by_hand_is_refused(store: Store) -> None:
    record = execute(store, request(), HERE).record
    path = f"{store.root}/{record.id.path}/record.json"
    data = json.loads(store.fs.cat_file(path))
    data["counts"]["files"] = 4
    store.fs.pipe_file(path, json.dumps(data).encode())
    with pytest.raises(ArtifactCorrupt, match="changed after it was written"):
        execute(store, request(), HERE)
    store.fs.pipe_file(path, b"{}")
    with pytest.raises(ArtifactCorrupt, match="not a record"):
        store.find(record.id)


def test_a_record_moved_elsewhere_is_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    record = execute(store, request(), HERE).record
    (tmp_path / "b").mkdir()
    (tmp_path / record.id.path).rename(tmp_path / "b" / record.version)
    with pytest.raises(ArtifactCorrupt, match="holds the record of a@"):
        store.find(ArtifactId(asset="b", version=record.version))


def test_damaged_and_missing_files_are_found(store: Store) -> None:
    record = execute(store, request(), HERE).record
    base = f"{store.root}/{record.id.path}" + (f"/{record.files_at}" if record.files_at else "")
    store.fs.pipe_file(f"{base}/file-1", b"y 1 ")
    store.fs.pipe_file(f"{base}/stranger", b"?")
    store.get(record.id)
    problems = store.verify(record)
    assert len(problems) == 2
    assert "file-1 was changed" in problems[0]
    assert "stranger is not in the record" in problems[1]
    store.fs.pipe_file(f"{base}/file-1", b"longer than before")
    with pytest.raises(ArtifactCorrupt, match="bytes, recorded"):
        store.get(record.id)
    store.fs.rm(f"{base}/file-1")
    with pytest.raises(ArtifactCorrupt, match="is missing"):
        store.get(record.id)
    assert "file-1 is missing" in store.verify(record)[0]


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
        "from ops.execute import *; from ops.stage import Execution; from tests.ops.test_store import request, Store\n"
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
        "from ops.execute import *; from ops.stage import Execution; from tests.ops.test_store import request, Store\n"
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


def chain(store: Store) -> dict[str, Record]:
    made: dict[str, Record] = {}
    for name, parents in {"a": [], "b": ["a"], "c": ["b"], "d": ["a", "c"], "e": []}.items():
        inputs = {parent: [made[parent]] for parent in parents}
        made[name] = execute(store, Request(asset=name, stage=TOY, config=ToyConfig(), inputs=inputs), HERE).record
    return made


def test_lineage_up_and_down(store: Store) -> None:
    made = chain(store)
    assert sorted(record.asset for record in ancestors(store, [made["c"]])) == ["a", "b", "c"]
    assert [record.asset for record in descendants(store, made["a"])] == ["b", "c", "d"]
    assert descendants(store, made["e"]) == []


def test_gc_never_takes_what_a_kept_artefact_descends_from(store: Store) -> None:
    made = chain(store)
    old = execute(store, request("f", text="old"), HERE).record
    child = execute(store, Request(asset="g", stage=TOY, config=ToyConfig(), inputs={"f": [old]}), HERE).record
    lone = execute(store, request("e", text="older"), HERE).record
    for newer in (execute(store, request("f", text="new"), HERE).record, made["e"]):
        assert newer.status == "accepted"
    _make_older(store, old, lone)
    assert [record.id for record in collectable(store)] == [lone.id]
    assert collectable(store, keep=[lone.id]) == []
    store.remove(lone.id)
    assert store.find(lone.id) is None
    assert {record.id.path for record in store.records()} >= {old.id.path, child.id.path}


def _make_older(store: Store, *records: Record) -> None:
    for record in records:
        data = {**vars(record), "created_at": "2000-01-01T00:00:00+00:00"}
        store.fs.pipe_file(f"{store.root}/{record.id.path}/record.json", Record(**data).to_json().encode())


def test_gc_waits_for_work_under_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(str(tmp_path))
    record = execute(store, request(), HERE).record
    with store.lock(ArtifactId(asset="b", version="1-0")):
        assert store.busy() == ["b/1-0"]
        assert cli.main(["--store", str(tmp_path), "gc", "--delete"]) == 1
        assert "work is under way on ['b/1-0']" in capsys.readouterr().err
    assert store.busy() == []
    assert cli.main(["--store", str(tmp_path), "gc", "--delete"]) == 0
    assert store.find(record.id) == record


def test_adopted_data_is_named_by_its_content(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "mine"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "weights").write_bytes(b"123")
    record = adopt(store, "teacher", source)
    assert adopt(store, "teacher", source) == record
    assert record.id.path == f"teacher/adopted-{record.digest[:12]}"
    assert (store.local_path(store.get(record.id)) / "deep" / "weights").read_bytes() == b"123"
    (source / "deep" / "weights").write_bytes(b"124")
    assert adopt(store, "teacher", source).version != record.version
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file"):
        adopt(store, "teacher", tmp_path / "empty")
    with pytest.raises(InputError, match="not a directory"):
        adopt(store, "teacher", source / "deep" / "weights")


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(str(tmp_path))
    made = chain(store)
    base = ["--store", str(tmp_path)]
    assert cli.main([*base, "ls"]) == 0
    assert "5 artefacts" in capsys.readouterr().out
    assert cli.main([*base, "lineage", "d"]) == 0
    shown = capsys.readouterr().out.split()
    assert all(made[name].id.path in shown for name in "abcd")
    assert made["e"].id.path not in shown
    assert cli.main([*base, "lineage", "a", "--forward"]) == 0
    assert made["d"].id.path in capsys.readouterr().out
    assert cli.main([*base, "show", made["d"].id.path, "--json"]) == 0
    assert Record.from_json(capsys.readouterr().out, "printed") == made["d"]
    assert cli.main([*base, "verify"]) == 0
    (tmp_path / made["a"].id.path / "file-0").write_text("?")
    assert cli.main([*base, "verify"]) == 1
    assert "file-0 was changed" in capsys.readouterr().out
    assert cli.main([*base, "show", "nothing"]) == 1
    assert "nothing in" in capsys.readouterr().err


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
