"""The split and the phases against their definition, and what the loader reads against what people read."""

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.errors import InputError
from ops.stage import Execution, StageResult
from ops.training_set import TrainingSetConfig
from ops.training_set.run import run
from ops.training_set.split import Split
from tests.ops.corpora import files_of
from tests.ops.token_shards import make_document, write_shard

CONFIG = TrainingSetConfig(validation_fraction=0.15, min_validation_documents_per_source=2, large_source_documents=10)


def documents(shard: int) -> list[dict[str, Any]]:
    """60 documents of 4 sources and all scores; every fifth is in one of 8 clusters that span shards and sources."""
    return [
        make_document(
            100 * shard + i,
            3 + (7 * i + shard) % 11,
            source=f"{'abcd'[i % 4]}.example" if i % 20 else "small.example",
            score=i % 6,
            cluster=f"cluster-{i % 8}" if i % 5 == 0 else "",
        )
        for i in range(60)
    ]


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("shards")
    for number in range(3):
        write_shard(root / f"{number}", documents(number) if number != 1 else [], first_id=1000 * number)
    (root / "2" / "record.json").write_text('{"partition": "CC-MAIN-2024-10|002"}')
    return [root / f"{number}" for number in range(3)]


def run_on(shards: list[Path], out: Path, config: TrainingSetConfig = CONFIG) -> StageResult:
    out.mkdir(exist_ok=True)
    return run(config, {"tokens": shards}, out, Execution())


@pytest.fixture(scope="module")
def result(shards, tmp_path_factory) -> tuple[StageResult, Path]:
    out = tmp_path_factory.mktemp("training_set")
    return run_on(shards, out), out


def below(cluster_id: str, seed: int, fraction: float) -> bool:
    digest = hashlib.sha256(f"{seed}:{cluster_id}".encode()).hexdigest()
    return (int(digest[:16], 16) >> 11) / (1 << 53) < fraction


def test_nothing_vanishes_and_all_checks_pass(result) -> None:
    stage, out = result
    assert all(check.passed for check in stage.checks)
    left = [row for number in (0, 2) for row in documents(number) if row["math_int_score"] < 3]
    assert stage.counts["in"] == 120
    assert stage.dropped == {"below_every_phase": len(left)}
    assert stage.counts["out"] == 120 - len(left)
    dropped = pl.read_parquet(out / "dropped" / "documents.parquet")
    assert dropped["doc_id"].to_list() == [row["doc_id"] for row in left]


def test_split_and_phases_follow_their_definition(result) -> None:
    table = pl.read_parquet(result[1] / "documents.parquet")
    for row in table.iter_rows(named=True):
        assert row["phases"] == {3: 1, 4: 3, 5: 3}[row["math_int_score"]]
        if below(row["cluster_id"], 0, 0.15):
            assert row["split"] == "validation"
    assert table.group_by("cluster_id").agg(pl.col("split").n_unique())["split"].max() == 1
    per_source = table.group_by("source").agg(
        pl.len().alias("documents"), (pl.col("split") == "validation").sum().alias("held_out")
    )
    for row in per_source.iter_rows(named=True):
        assert row["documents"] < 10 or row["held_out"] >= 2
    assert table.select("shard", "token_start").rows() == sorted(table.select("shard", "token_start").rows())
    assert set(table["shard"]) == {0, 2}


def test_the_index_is_the_table(result) -> None:
    _, out = result
    table = pl.read_parquet(out / "documents.parquet")
    index = np.load(out / "index.npy", allow_pickle=False)
    sources = json.loads((out / "manifest.json").read_text())["sources"]
    assert len(index) == len(table)
    for entry, row in zip(index, table.iter_rows(named=True), strict=True):
        assert entry["doc_id"].decode() == row["doc_id"]
        assert sources[entry["source"]] == row["source"]
        assert ("train", "validation")[entry["split"]] == row["split"]
        for name in ("token_start", "token_length", "text_bytes", "shard", "phases"):
            assert entry[name] == row[name]


def test_the_manifest_sums_the_table(result, shards) -> None:
    stage, out = result
    manifest = json.loads((out / "manifest.json").read_text())
    columns = ("train_phase_1", "train_phase_2", "validation")
    sums: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(columns, 0))
    for row in pl.read_parquet(out / "documents.parquet").iter_rows(named=True):
        for key in ("all", row["source"]):
            if row["split"] == "validation":
                sums[key]["validation"] += row["token_length"]
            else:
                for phase in (1, 2):
                    sums[key][f"train_phase_{phase}"] += row["token_length"] if row["phases"] & phase else 0
    assert manifest["tokens"] == sums["all"]
    assert manifest["tokens_by_source"] == {source: sums[source] for source in manifest["sources"]}
    assert stage.counts["train_phase_2_tokens"] == sums["all"]["train_phase_2"]
    assert [shard["partition"] for shard in manifest["shards"]] == [None, None, "CC-MAIN-2024-10|002"]
    for shard, directory in zip(manifest["shards"], shards, strict=True):
        payload = (directory / "tokens.bin").read_bytes()
        assert shard["sha256"] == hashlib.sha256(payload).hexdigest()
        assert shard["num_tokens"] * 2 == len(payload)
        assert shard["dtype"] == "uint16"
    assert (manifest["vocab_size"], manifest["eod_id"]) == (50_000, 0)
    assert manifest["num_documents"] == stage.counts["out"]


def test_it_is_the_same_again(result, shards, tmp_path) -> None:
    run_on(shards, tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(result[1])


def test_another_seed_gives_another_split(result, shards, tmp_path) -> None:
    run_on(shards, tmp_path / "out", TrainingSetConfig(validation_fraction=0.15, seed=1))
    splits = [pl.read_parquet(path / "documents.parquet")["split"].to_list() for path in (result[1], tmp_path / "out")]
    assert splits[0] != splits[1]


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40).map(str)), max_size=80),
    fraction=st.floats(0.01, 0.6),
    wanted=st.integers(0, 4),
    large=st.integers(5, 12),
    seed=st.integers(0, 3),
)
@settings(max_examples=200)
def test_large_sources_give_their_lowest_clusters(rows, fraction, wanted, large, seed) -> None:
    config = TrainingSetConfig(
        validation_fraction=fraction,
        min_validation_documents_per_source=wanted,
        large_source_documents=large,
        seed=seed,
    )
    expected = {cluster for _, cluster in rows if below(cluster, seed, fraction)}
    promoted = set()
    for source in "abc":
        own = [cluster for name, cluster in rows if name == source]
        missing = wanted - sum(cluster in expected for cluster in own)
        if len(own) >= large and missing > 0:
            digest = {c: int(hashlib.sha256(f"{seed}:{c}".encode()).hexdigest()[:16], 16) >> 11 for c in own}
            promoted |= set(sorted(set(own) - expected, key=digest.__getitem__)[:missing])
    split = Split(rows, config)
    assert {cluster for _, cluster in rows if split.of(cluster) == "validation"} == expected | promoted
    backwards = Split(rows[::-1], config)
    assert [split.of(cluster) for _, cluster in rows] == [backwards.of(cluster) for _, cluster in rows]


def test_an_empty_split_is_caught(shards, tmp_path) -> None:
    config = TrainingSetConfig(validation_fraction=1e-9, min_validation_documents_per_source=0)
    failed = [check for check in run_on(shards, tmp_path / "a", config).checks if not check.passed]
    assert [(check.name, check.blocking) for check in failed] == [("validation_not_empty", True)]
    config = TrainingSetConfig(validation_fraction=1 - 1e-9)
    failed = [check for check in run_on(shards, tmp_path / "b", config).checks if not check.passed]
    assert [(check.name, check.blocking) for check in failed] == [
        ("training_not_empty", True),
        ("phase_2_not_empty", False),
    ]
    failed = [check.name for check in run_on(shards[1:2], tmp_path / "c").checks if not check.passed]
    assert failed == ["training_not_empty", "validation_not_empty", "phase_2_not_empty"]


def test_a_straddling_cluster_is_caught(shards, tmp_path, monkeypatch) -> None:
    turns = iter(range(1000))
    monkeypatch.setattr(Split, "of", lambda self, cluster_id: ("train", "validation")[next(turns) % 2])
    failed = [check for check in run_on(shards, tmp_path / "out").checks if not check.passed]
    assert [(check.name, check.blocking) for check in failed] == [("no_cluster_straddles", True)]


def test_shards_that_do_not_belong_together_are_named(shards, tmp_path) -> None:
    write_shard(tmp_path / "wide", documents(5), vocab_size=70_000)
    with pytest.raises(InputError, match="wide: its vocab_size is 70000"):
        run_on([*shards, tmp_path / "wide"], tmp_path / "a")
    with pytest.raises(InputError, match="the same tokens as"):
        run_on([shards[0], shards[0]], tmp_path / "b")
    with pytest.raises(InputError, match=r"holds no tokens\.json"):
        run_on([tmp_path], tmp_path / "c")
    write_shard(tmp_path / "named", [make_document(1, 5) | {"doc_id": "a name that is too long"}])
    with pytest.raises(InputError, match="doc_id 'a name that is too long'"):
        run_on([tmp_path / "named"], tmp_path / "d")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("validation_fraction", 0.0),
        ("phase1_min_int_score", 6),
        ("phase2_min_int_score", -1),
        ("min_validation_documents_per_source", -1),
        ("large_source_documents", 1),
    ],
)
def test_bad_settings_are_named(name, value) -> None:
    with pytest.raises(InputError, match=name):
        TrainingSetConfig(**{name: value})
