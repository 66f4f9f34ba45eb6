"""Where artefacts come from, what comes from them, and what may go."""

from pathlib import Path

import pytest

from ops.execute import Request, execute
from ops.store import ArtifactId, Record, Store
from ops.store import __main__ as cli
from ops.store.lineage import ancestors, collectable, descendants
from tests.ops import crawl_servers, stores
from tests.ops.stores import HERE, TOY, chain, request
from tests.ops.toy import ToyConfig

moto_server, s3_endpoint, store = crawl_servers.moto_server, crawl_servers.s3_endpoint, stores.store


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
