"""Parts: nothing vanishes, kills lose nothing, equal rows give equal bytes."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.atomic import read_json, sweep, write_json
from ops.errors import InputError
from ops.parts import Batch, Row, mark_path, read_rows, run_parts, totals, write_rows
from ops.pool import ProcessLost
from ops.store.files import sha256_of
from tests.ops.toy.parts import die_once, double_even, refuse

SCHEMA = pa.schema([("doc_id", pa.string()), ("url", pa.string()), ("n", pa.int64())])


def rows(numbers: list[int]) -> list[dict[str, Any]]:
    return [{"doc_id": f"d{n}", "url": f"u{n}", "n": n} for n in numbers]


def make(source: Path, parts: list[list[int]]) -> None:
    for index, numbers in enumerate(parts):
        write_rows(source / f"part-{index:05d}.parquet", rows(numbers), SCHEMA)


def drop_odd(batch_rows: list[Row]) -> Batch:
    batch = Batch()
    for row in batch_rows:
        if row["n"] % 2:
            batch.drop(row, "odd", str(row["n"]))
        else:
            batch.keep(row)
            batch.counts["even"] += 1
    return batch


def files(directory: Path) -> dict[str, str]:
    return {p.relative_to(directory).as_posix(): sha256_of(p) for p in sorted(directory.rglob("*")) if p.is_file()}


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 99), max_size=12), min_size=1, max_size=4), st.integers(1, 5))
def test_every_row_is_kept_or_dropped_in_its_part(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], batch_rows: int
) -> None:
    base = tmp_path_factory.mktemp("parts")
    make(base / "in", parts)
    found = run_parts(base / "in", base / "out", SCHEMA, drop_odd, stage="s", batch_rows=batch_rows)
    everything = [n for numbers in parts for n in numbers]
    assert found.counts["in"] == len(everything)
    assert found.counts["out"] == sum(n % 2 == 0 for n in everything)
    assert sum(found.dropped.values()) == sum(n % 2 for n in everything)
    for index, numbers in enumerate(parts):
        name = f"part-{index:05d}.parquet"
        assert pq.read_table(base / "out" / name)["n"].to_pylist() == [n for n in numbers if n % 2 == 0]
        gone = pq.read_table(base / "out" / "dropped" / name).to_pylist()
        assert [row["detail"] for row in gone] == [str(n) for n in numbers if n % 2]


@pytest.mark.parametrize("fail_at", range(6))
def test_a_run_that_dies_is_gone_on_from_and_ends_with_the_same_bytes(tmp_path: Path, fail_at: int) -> None:
    make(tmp_path / "in", [[1, 2, 3], [4, 5], [6, 7, 8, 9]])
    calm = run_parts(tmp_path / "in", tmp_path / "calm", SCHEMA, drop_odd, stage="s", batch_rows=2)
    calls = 0

    def dies(batch_rows: list[Row]) -> Batch:
        nonlocal calls
        calls += 1
        if calls == fail_at + 1:
            raise KeyboardInterrupt
        return drop_odd(batch_rows)

    if fail_at < 5:
        with pytest.raises(KeyboardInterrupt):
            run_parts(tmp_path / "in", tmp_path / "out", SCHEMA, dies, stage="s", batch_rows=2)
        assert not list((tmp_path / "out").rglob("*.tmp"))
    calls = 100
    again = run_parts(tmp_path / "in", tmp_path / "out", SCHEMA, dies, stage="s", batch_rows=2)
    assert again == calm
    assert files(tmp_path / "out") == files(tmp_path / "calm")


def test_several_processes_write_the_same_bytes_and_one_that_dies_is_named(tmp_path: Path) -> None:
    make(tmp_path / "in", [[1, 2, 3], [4, 5], [6, 7, 8, 9], [10]])
    one = run_parts(tmp_path / "in", tmp_path / "one", SCHEMA, double_even, stage="s")
    work = partial(die_once, tmp_path / "flag")
    with pytest.raises(ProcessLost, match=r"s: one of its 2 processes died .* run again to go on"):
        run_parts(tmp_path / "in", tmp_path / "two", SCHEMA, work, stage="s", num_processes=2)
    assert not mark_path(tmp_path / "two", "part-00001").exists()
    sweep(tmp_path / "two")
    assert run_parts(tmp_path / "in", tmp_path / "two", SCHEMA, work, stage="s", num_processes=2) == one
    assert files(tmp_path / "two") == files(tmp_path / "one")
    with pytest.raises(InputError, match="not wanted"):
        run_parts(tmp_path / "in", tmp_path / "three", SCHEMA, refuse, stage="s", num_processes=2)


def test_a_transform_that_loses_a_row_is_stopped(tmp_path: Path) -> None:
    make(tmp_path / "in", [[1, 2]])
    with pytest.raises(InputError, match=r"part-00000.parquet.*was given 2 rows, kept 1 and dropped 0"):
        run_parts(tmp_path / "in", tmp_path / "out", SCHEMA, lambda r: Batch(kept=r[:1]), stage="s")
    assert not mark_path(tmp_path / "out", "part-00000").exists()


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no part"):
        run_parts(tmp_path, tmp_path / "out", SCHEMA, drop_odd, stage="s")
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"part-00000\.parquet: not a readable Parquet file"):
        run_parts(tmp_path, tmp_path / "out", SCHEMA, drop_odd, stage="s")
    write_rows(path, rows([1]), SCHEMA)
    with pytest.raises(InputError, match=r"lacks the columns \['text'\]"):
        list(read_rows(path, columns=["n", "text"]))
    with pytest.raises(InputError, match="no such file"):
        totals(tmp_path / "out", ["part-00000"])
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match=r"x\.json: not JSON"):
        read_json(tmp_path / "x.json")


def test_json_is_canonical(tmp_path: Path) -> None:
    for name, value in (("a", {"y": 1, "x": [1.5, "é"]}), ("b", {"x": [1.5, "é"], "y": 1})):
        write_json(tmp_path / name, value)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text()) == {"x": [1.5, "é"], "y": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "c", float("nan"))
