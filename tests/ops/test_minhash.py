import random
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.errors import InputError
from ops.minhash.config import MinHashConfig
from ops.minhash.run import run
from ops.minhash.shingles import digest, normalise, shingle_hashes
from ops.minhash.signatures import band_keys
from ops.parts import write_rows
from ops.schema import SCORED, doc_id
from ops.stage import Execution

TOKEN = re.compile(r"[a-z0-9\x80-\U0010ffff]+|[-+=<>*/^_\\]")


def scored_row(index: int, text: str, *, crawl: str = "CC-MAIN-2024-10", score: float = 3.0) -> dict:
    return {
        "doc_id": doc_id(crawl, "a.warc.gz", index),
        "crawl": crawl,
        "url": f"https://example.org/{index}",
        "warc_filename": "a.warc.gz",
        "warc_record_offset": index,
        "warc_record_length": 1,
        "title": None,
        "text": text,
        "num_formulas": 0,
        "cleaner": "rules-1",
        "num_paragraphs_dropped": 0,
        "language": "en",
        "language_score": 0.9,
        "math_score": score,
        "math_int_score": round(score),
    }


def reference_shingles(text: str, ngram: int) -> set[tuple[str, ...]]:
    words = TOKEN.findall(normalise(text))
    if 0 < len(words) < ngram:
        return {tuple(words)}
    return {tuple(words[start : start + ngram]) for start in range(len(words) - ngram + 1)}


def reference_jaccard(a: str, b: str, ngram: int = 5) -> float:
    left, right = reference_shingles(a, ngram), reference_shingles(b, ngram)
    return len(left & right) / len(left | right) if left | right else 0.0


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    shared = len(np.intersect1d(a, b))
    return shared / (len(a) + len(b) - shared) if len(a) + len(b) else 0.0


def random_words(generator: random.Random, count: int) -> list[str]:
    return [f"w{generator.randrange(5000)}" for _ in range(count)]


def variant(generator: random.Random, words: list[str], changes: int) -> list[str]:
    result = list(words)
    for position in generator.sample(range(len(words)), changes):
        result[position] = f"x{generator.randrange(10**6)}"
    return result


TEXT = st.lists(
    st.sampled_from(["sum", "x", "2", "+", "=", "é", "ζ", ", ", "\n", "$\\frac{a}{b}$", "the", "."]), max_size=40
)


@settings(max_examples=150)
@given(st.lists(TEXT.map(" ".join), min_size=1, max_size=6), st.integers(1, 6))
def test_shingles_are_those_of_a_plain_implementation(texts: list[str], ngram: int) -> None:
    texts = [normalise(text) for text in texts]
    hashed = shingle_hashes(texts, ngram)
    assert [len(items) for items in hashed] == [len(reference_shingles(text, ngram)) for text in texts]
    for items in hashed:
        assert np.all(np.diff(items.astype(np.int64)) > 0)
    assert jaccard(hashed[0], hashed[-1]) == pytest.approx(reference_jaccard(texts[0], texts[-1], ngram))


@settings(max_examples=60)
@given(st.lists(TEXT.map(" ".join), min_size=1, max_size=6))
def test_a_document_is_hashed_alike_alone_and_in_a_batch(texts: list[str]) -> None:
    config = MinHashConfig()
    together = shingle_hashes(texts, 5)
    alone = [shingle_hashes([text], 5)[0] for text in texts]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
    keys = np.concatenate([band_keys([items], config) for items in alone])
    assert np.array_equal(band_keys(together, config), keys)


def test_normalisation_forgets_case_space_and_composition() -> None:
    assert digest(normalise("Caf\u00e9  Sum\n\tx ")) == digest(normalise("cafe\u0301 sum x"))
    assert digest(normalise("x + y")) != digest(normalise("x - y"))


MASK = 2**64 - 1


def plain_mix(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def plain_random(count: int, seed: int) -> list[int]:
    return [plain_mix((step * 0x9E3779B97F4A7C15 + plain_mix(seed)) & MASK) for step in range(1, count + 1)]


def test_hashes_are_those_of_plain_integer_arithmetic() -> None:
    """Stored signatures meet those of later crawls, so what is computed here may never change."""
    text = normalise("The sum of $a_1 + a_2$ is 7, é.")
    multiplier = 0xD6E8FEB86659FD93
    values = plain_random(256, 0x5748)
    words = [
        plain_mix(sum(values[byte] * multiplier**i for i, byte in enumerate(word.encode())) & MASK)
        for word in TOKEN.findall(text)
    ]
    expected = set()
    for start in range(len(words) - 4):
        state = 0
        for word in words[start : start + 5]:
            state = plain_mix((state * multiplier + word) & MASK)
        expected.add(state >> 32)
    items = shingle_hashes([text], 5)[0]
    assert items.tolist() == sorted(expected)

    config = MinHashConfig(num_bands=2, rows_per_band=3, seed=9)
    factors, offsets = plain_random(6, 19), plain_random(6, 20)
    minima = [
        min(((factor | 1) * plain_mix(item) + offset) & MASK for item in expected)
        for factor, offset in zip(factors, offsets, strict=True)
    ]
    keys = []
    for band in range(2):
        state = 0
        for minimum in minima[3 * band : 3 * band + 3]:
            state = plain_mix((state + minimum) & MASK)
        keys.append(state)
    assert band_keys([items], config).tolist() == [keys]
    assert len(expected) == 9
    assert items[0] == 830561348


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9])
def test_candidates_follow_the_stated_recall_curve(similarity: float) -> None:
    config = MinHashConfig()
    generator = np.random.default_rng(int(similarity * 10))
    num_pairs, union = 1200, 400
    shared = round(similarity * union)
    hits = 0
    pairs = []
    for _ in range(num_pairs):
        items = generator.choice(2**32, size=union, replace=False).astype(np.uint32)
        half = shared + (union - shared) // 2
        pairs += [np.unique(items[:half]), np.unique(np.concatenate([items[:shared], items[half:]]))]
    keys = band_keys(pairs, config)
    hits = int((keys[0::2] == keys[1::2]).any(axis=1).sum())
    expected = config.recall(shared / union)
    assert hits / num_pairs == pytest.approx(expected, abs=4 * (expected * (1 - expected) / num_pairs) ** 0.5 + 0.003)


def test_recall_at_the_default_threshold_meets_its_bar() -> None:
    assert MinHashConfig().recall(0.8) >= 0.95
    assert MinHashConfig(num_bands=20, rows_per_band=13).recall(0.8) == pytest.approx(0.68, abs=0.01)


def test_run_writes_one_signature_a_document_and_resumes(tmp_path) -> None:
    generator = random.Random(1)
    source = tmp_path / "scored"
    rows = [scored_row(index, " ".join(random_words(generator, 3 * index))) for index in range(300)]
    write_rows(source / "part-00000.parquet", rows, SCORED)
    write_rows(source / "part-00001.parquet", [], SCORED)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    result = run(MinHashConfig(), {"scored": [source]}, whole, Execution())
    assert all(check.passed for check in result.checks)
    assert result.counts["in"] == result.counts["out"] == 300
    run(MinHashConfig(), {"scored": [source]}, resumed, Execution())
    (resumed / "marks" / "part-00000.json").unlink()
    (resumed / "shingles" / "part-00000.bin").write_bytes(b"torn")
    run(MinHashConfig(), {"scored": [source]}, resumed, Execution())
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(resumed) for path in resumed.rglob("*") if path.is_file())
    assert all((whole / name).read_bytes() == (resumed / name).read_bytes() for name in files)
    table = pq.read_table(whole / "part-00000.parquet").to_pylist()
    stored = np.fromfile(whole / "shingles" / "part-00000.bin", dtype="<u4")
    for row, signature in zip(rows, table, strict=True):
        start = signature["shingle_start"]
        expected = shingle_hashes([normalise(row["text"])], 5)[0]
        assert np.array_equal(stored[start : start + signature["num_shingles"]], expected)
    assert pq.read_table(whole / "part-00001.parquet").num_rows == 0


def test_config_names_the_wrong_field() -> None:
    with pytest.raises(InputError, match="rows_per_band"):
        MinHashConfig(rows_per_band=0)
