import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.dedup_clusters.config import DedupClustersConfig
from ops.dedup_clusters.run import run as cluster
from ops.dedup_clusters.union_find import UnionFind
from ops.deduplicate.config import DeduplicateConfig
from ops.deduplicate.run import run as deduplicate
from ops.errors import InputError
from ops.minhash.config import MinHashConfig
from ops.minhash.run import run as minhash
from ops.parts import write_rows
from ops.schema import SCORED
from ops.stage import Execution
from tests.ops.test_minhash import random_words, reference_jaccard, reference_shingles, scored_row, variant


def write_buckets(root: Path, buckets: list[list[list[dict]]]) -> list[Path]:
    """Buckets of parts of rows as SCORED artefacts."""
    paths = []
    for index, parts in enumerate(buckets):
        for number, rows in enumerate(parts):
            write_rows(root / f"bucket-{index}" / f"part-{number:05d}.parquet", rows, SCORED)
        paths.append(root / f"bucket-{index}")
    return paths


def signatures(root: Path, scored: list[Path], config: MinHashConfig | None = None) -> list[Path]:
    paths = [root / f"signatures-{index}" for index in range(len(scored))]
    for source, out in zip(scored, paths, strict=True):
        minhash(config or MinHashConfig(), {"scored": [source]}, out, Execution())
    return paths


def clusters_of(root: Path, rows: list[dict]) -> dict[str, dict]:
    scored = write_buckets(root, [[rows]])
    out = root / "clusters"
    result = cluster(DedupClustersConfig(), {"minhash": signatures(root, scored)}, out, Execution())
    assert all(check.passed for check in result.checks)
    return {row["doc_id"]: row for row in pq.read_table(out / "clusters.parquet").to_pylist()}


def families(seed: int, num_families: int, words: int = 120) -> list[dict]:
    """Families of documents around one original each, from nearly equal to hardly alike."""
    generator = random.Random(seed)
    rows = []
    for _ in range(num_families):
        original = random_words(generator, words)
        texts = [original, *(variant(generator, original, changes) for changes in (1, 2, 2, 3, 4, 7, 15))]
        rows += [
            scored_row(len(rows) + i, " ".join(text), score=generator.random() * 5) for i, text in enumerate(texts)
        ]
    generator.shuffle(rows)
    return rows


def test_recall_and_precision_against_brute_force(tmp_path) -> None:
    rows = families(seed=5, num_families=60, words=260)
    found = clusters_of(tmp_path, rows)
    shingles = [reference_shingles(row["text"], 5) for row in rows]
    owners: dict[tuple, list[int]] = {}
    for index, items in enumerate(shingles):
        for item in items:
            owners.setdefault(item, []).append(index)
    pairs = {(a, b) for group in owners.values() for a in group for b in group if a < b}
    true_pairs = [(a, b) for a, b in pairs if len(shingles[a] & shingles[b]) / len(shingles[a] | shingles[b]) >= 0.8]
    assert len(true_pairs) > 300
    # Recall: a pair of duplicates may not survive whole.
    both_kept = [
        pair for pair in true_pairs if found[rows[pair[0]]["doc_id"]]["kept"] and found[rows[pair[1]]["doc_id"]]["kept"]
    ]
    assert 1 - len(both_kept) / len(true_pairs) >= 0.95
    # Precision: what was dropped is a duplicate of what was kept.
    text = {row["doc_id"]: row["text"] for row in rows}
    dropped = [row for row in found.values() if not row["kept"]]
    assert len(dropped) > 100
    for row in dropped:
        exact = reference_jaccard(text[row["doc_id"]], text[row["cluster_id"]])
        assert exact >= 0.8
        assert row["jaccard"] == pytest.approx(exact, abs=1e-6)
        assert found[row["cluster_id"]]["kept"]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.integers(1, 3), st.integers(1, 3))
def test_result_does_not_depend_on_buckets_parts_or_order(
    tmp_path_factory, order: random.Random, num_buckets: int, num_parts: int
) -> None:
    rows = families(seed=8, num_families=6)
    rows += [scored_row(1000 + i, rows[i]["text"].upper(), crawl="CC-MAIN-2023-06") for i in range(0, 40, 5)]

    def clusters(rows: list[dict], num_buckets: int, num_parts: int) -> bytes:
        root = tmp_path_factory.mktemp("order")
        buckets = [
            [rows[bucket::num_buckets][part::num_parts] for part in range(num_parts)] for bucket in range(num_buckets)
        ]
        inputs = signatures(root, write_buckets(root, buckets))
        cluster(DedupClustersConfig(), {"minhash": inputs}, root / "clusters", Execution())
        return (root / "clusters" / "clusters.parquet").read_bytes()

    shuffled = list(rows)
    order.shuffle(shuffled)
    assert clusters(shuffled, num_buckets, num_parts) == clusters(rows, 1, 1)


def test_survivor_is_the_best_ranked(tmp_path) -> None:
    words = random_words(random.Random(0), 200)
    text = " ".join(words)
    rows = [
        scored_row(0, text, score=3.0, crawl="CC-MAIN-2024-10"),
        scored_row(1, text, score=3.0, crawl="CC-MAIN-2023-06"),
        scored_row(2, " ".join(variant(random.Random(1), words, 2)), score=2.0),
        scored_row(3, " ".join(random_words(random.Random(2), 200)), score=1.0),
    ]
    found = clusters_of(tmp_path, rows)
    by_row = [found[row["doc_id"]] for row in rows]
    assert [row["kept"] for row in by_row] == [False, True, False, True]
    assert [row["exact"] for row in by_row] == [True, False, False, False]
    assert {row["cluster_id"] for row in by_row[:3]} == {rows[1]["doc_id"]}
    assert [row["cluster_size"] for row in by_row] == [3, 3, 3, 1]


def test_a_chain_of_resemblances_drops_nothing_unlike_its_survivor(tmp_path) -> None:
    """a ~ b ~ c ~ ... each like its neighbour alone: one component, but several survivors."""
    words = random_words(random.Random(3), 400)
    texts = [" ".join(words[10 * step : 10 * step + 200]) for step in range(12)]
    rows = [scored_row(index, text, score=5 - index / 10) for index, text in enumerate(texts)]
    found = clusters_of(tmp_path, rows)
    kept = [row for row in rows if found[row["doc_id"]]["kept"]]
    assert 1 < len(kept) < len(rows)
    for a in kept:
        for b in kept:
            assert a is b or reference_jaccard(a["text"], b["text"]) < 0.8


@pytest.mark.parametrize("small", [0, 10**9])
def test_members_of_a_large_component_are_found_without_comparing_all(tmp_path, monkeypatch, small: int) -> None:
    """A chain of 240 documents and families around its links: what is similar is what a plain comparison finds."""
    monkeypatch.setattr("ops.dedup_clusters.cluster.SMALL_COMPONENT", small)
    generator = random.Random(6)
    words = random_words(generator, 1500)
    texts = [" ".join(words[6 * step : 6 * step + 90]) for step in range(200)]
    texts += [" ".join(variant(generator, texts[step].split(), 1)) for step in range(0, 200, 5)]
    rows = [scored_row(index, text, score=generator.random()) for index, text in enumerate(texts)]
    found = clusters_of(tmp_path, rows)
    best = sorted(rows, key=lambda row: (-np.float32(row["math_score"]), -len(row["text"]), row["doc_id"]))
    left, survivors = {row["doc_id"]: row for row in best}, {}
    for row in best:
        if left.pop(row["doc_id"], None) is not None:
            survivors[row["doc_id"]] = row["doc_id"]
            taken = [name for name, other in left.items() if reference_jaccard(row["text"], other["text"]) >= 0.8]
            survivors |= dict.fromkeys(taken, row["doc_id"])
            for name in taken:
                del left[name]
    assert {name: row["cluster_id"] for name, row in found.items()} == survivors
    assert len(set(survivors.values())) > 50


def test_many_copies_of_a_page_cost_one_comparison_each(tmp_path) -> None:
    words = random_words(random.Random(4), 300)
    rows = [scored_row(i, " ".join([*words, f"visit{i}"])) for i in range(500)]
    scored = write_buckets(tmp_path, [[rows]])
    result = cluster(DedupClustersConfig(), {"minhash": signatures(tmp_path, scored)}, tmp_path / "out", Execution())
    assert result.counts["kept"] == 1
    assert result.counts["largest_cluster"] == 500
    assert result.counts["pairs_compared"] < 1000


def test_empty_and_tiny_documents(tmp_path) -> None:
    rows = [scored_row(i, text) for i, text in enumerate(["", "  ", "!!", "??", "one two", "One  two", "three"])]
    found = clusters_of(tmp_path, rows)
    assert [found[row["doc_id"]]["kept"] for row in rows].count(True) == 5
    kept = {row["text"] for row in rows if found[row["doc_id"]]["kept"]}
    assert {"!!", "??", "three"} < kept


STRANGE = ["a", "7", "+", "\0", "a\0b", "\u200b", "🙂", "🙂🙂 🙂", "é" * 3000, "x" * 300_000]
STRANGE += ["数学", "数 学 的 美 丽 世 界", "مرحبا بالعالم"]


def test_strange_documents_are_found_alike_and_apart(tmp_path) -> None:
    """One word, no word, one long word, other scripts, in two crawls: each is a duplicate of its copy alone."""
    rows = [scored_row(index, text) for index, text in enumerate(STRANGE)]
    rows += [scored_row(index, f" {text}\n", crawl="CC-MAIN-2025-05") for index, text in enumerate(STRANGE)]
    found = clusters_of(tmp_path, rows)
    for first, second in zip(rows[: len(STRANGE)], rows[len(STRANGE) :], strict=True):
        one, other = found[first["doc_id"]], found[second["doc_id"]]
        assert one["cluster_id"] == other["cluster_id"]
        assert one["kept"] != other["kept"]
    assert sum(row["kept"] for row in found.values()) == len(STRANGE)


def test_no_documents_at_all(tmp_path) -> None:
    assert clusters_of(tmp_path, []) == {}


def test_deduplicate_drops_with_evidence_and_keeps_the_sums(tmp_path) -> None:
    rows = families(seed=9, num_families=10)
    copy = scored_row(5000, rows[0]["text"].upper(), crawl="CC-MAIN-2025-05", score=0.0)
    scored = write_buckets(tmp_path, [[rows[:40], [], rows[40:]], [[copy]]])
    cluster(DedupClustersConfig(), {"minhash": signatures(tmp_path, scored)}, tmp_path / "clusters", Execution())
    inputs = {"dedup_clusters": [tmp_path / "clusters"]}
    first = deduplicate(DeduplicateConfig(), {**inputs, "scored": [scored[0]]}, tmp_path / "first", Execution())
    second = deduplicate(DeduplicateConfig(), {**inputs, "scored": [scored[1]]}, tmp_path / "second", Execution())
    assert all(check.passed for check in [*first.checks, *second.checks])
    assert first.counts["out"] + sum(first.dropped.values()) == len(rows)
    assert second.counts["in"] == 1
    assert sum(second.dropped.values()) == 1
    (drop,) = pq.read_table(tmp_path / "second" / "dropped" / "part-00000.parquet").to_pylist()
    assert drop["doc_id"] == copy["doc_id"]
    survivor = drop["detail"].split()[0]
    kept = [row for part in sorted((tmp_path / "first").glob("part-*")) for row in pq.read_table(part).to_pylist()]
    assert survivor in {row["doc_id"] for row in kept}
    assert all(row["cluster_id"] == row["doc_id"] for row in kept)
    assert pq.read_table(tmp_path / "first" / "part-00001.parquet").num_rows == 0
    assert len({row["cluster_size"] for row in kept}) > 1
    exact_only = deduplicate(
        DeduplicateConfig(drop_near=False), {**inputs, "scored": [scored[0]]}, tmp_path / "exact", Execution()
    )
    assert exact_only.counts["out"] > first.counts["out"]


def test_clusters_made_without_a_document_are_refused(tmp_path) -> None:
    rows = families(seed=9, num_families=1)
    scored = write_buckets(tmp_path, [[rows[:4]], [rows[4:]]])
    cluster(DedupClustersConfig(), {"minhash": signatures(tmp_path, scored[:1])}, tmp_path / "clusters", Execution())
    with pytest.raises(InputError, match="is in no cluster"):
        deduplicate(
            DeduplicateConfig(),
            {"scored": [scored[1]], "dedup_clusters": [tmp_path / "clusters"]},
            tmp_path / "out",
            Execution(),
        )


def test_bad_signatures_are_named(tmp_path) -> None:
    rows = families(seed=9, num_families=1)
    scored = write_buckets(tmp_path, [[rows[:4]], [rows[4:]], [rows[:1]]])
    paths = signatures(tmp_path, scored)
    with pytest.raises(InputError, match="is there twice"):
        cluster(DedupClustersConfig(), {"minhash": [paths[0], paths[2]]}, tmp_path / "out", Execution())
    other = signatures(tmp_path / "other", scored[1:2], MinHashConfig(num_bands=3))
    with pytest.raises(InputError, match="its bands are not those of"):
        cluster(DedupClustersConfig(), {"minhash": [paths[0], *other]}, tmp_path / "out", Execution())
    (paths[0] / "shingles" / "part-00000.bin").write_bytes(b"1234")
    with pytest.raises(InputError, match=r"part-00000\.bin"):
        cluster(DedupClustersConfig(), {"minhash": [paths[0]]}, tmp_path / "out", Execution())
    (paths[1] / "part-00000.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        cluster(DedupClustersConfig(), {"minhash": [paths[1]]}, tmp_path / "out", Execution())


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_union_find_gives_the_components(edges: list[tuple[int, int]]) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sets = UnionFind(20)
    for a, b in edges:
        sets.union(a, b)
    rows, columns = [edge[0] for edge in edges], [edge[1] for edge in edges]
    _, labels = connected_components(coo_array((np.ones(len(edges)), (rows, columns)), shape=(20, 20)), directed=False)
    expected = [int(np.flatnonzero(labels == label)[0]) for label in labels]
    assert sets.roots().tolist() == expected == [sets.find(item) for item in range(20)]
