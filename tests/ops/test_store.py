"""The store: sealed records, identity, errors that say what to do."""

import json
from pathlib import Path

import pytest

from ops.errors import ArtifactCorrupt, ArtifactMissing, ArtifactRejected, InputError
from ops.execute import Request, Stage, execute, find, identify
from ops.stage import Execution
from ops.store import ArtifactId, Record, Store
from ops.store.adopt import adopt
from tests.ops import crawl_servers, stores
from tests.ops.stores import HERE, TOY, request
from tests.ops.toy import ToyConfig

moto_server, s3_endpoint, store = crawl_servers.moto_server, crawl_servers.s3_endpoint, stores.store


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
