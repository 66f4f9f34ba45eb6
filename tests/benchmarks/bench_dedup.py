"""Deduplication beside datatrove's MinHash: documents per CPU second, recall by similarity, precision.

Half of the documents are pairs whose similarity is planted and then measured exactly, on the sets of their word
5-grams. A pair is found when one of it is dropped; a drop is right when a kept document is at least 0.8 similar.
"""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ops.dedup_clusters.config import DedupClustersConfig
from ops.dedup_clusters.run import run as cluster
from ops.deduplicate.config import DeduplicateConfig
from ops.deduplicate.run import run as deduplicate
from ops.minhash.config import MinHashConfig
from ops.minhash.run import run as minhash
from ops.parts import write_rows
from ops.schema import SCORED
from ops.stage import Execution
from tests.benchmarks.peer import cpu_seconds, datatrove
from tests.ops.test_minhash import scored_row

NGRAM, THRESHOLD = 5, 0.8
SINGLES = int(os.environ.get("DEDUP_SINGLES", "3000"))
PLANTED = {0.5: 200, 0.6: 200, 0.7: 200, 0.75: 200, 0.8: 500, 0.85: 200, 0.9: 200, 0.95: 200, 1.0: 100}
"""Similarity: pairs."""
BINS = (0.45, 0.55, 0.65, 0.72, 0.78, 0.8, 0.82, 0.88, 0.93, 0.99, 1.01)
MEAN_WORDS = 700
_SYLLABLES = [a + b for a in "bcdfghklmnprstvz" for b in "aeiou"]


def vocabulary(size: int = 20_000) -> list[str]:
    """Words without digits or signs, which datatrove would read otherwise than we do."""
    rng = random.Random(0)
    words: dict[str, None] = {}
    while len(words) < size:
        words["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4)))] = None
    return list(words)


def planted(similarity: float, words: list[str], rng: random.Random, known: list[str]) -> list[str]:
    """`words` with so many exchanged, each far from the next, that about `similarity` of the n-grams are shared."""
    num_ngrams = len(words) - NGRAM + 1
    changes = round(num_ngrams * (1 - similarity) / (NGRAM * (1 + similarity)))
    result = list(words)
    for slot in rng.sample(range(len(words) // (2 * NGRAM)), changes):
        result[2 * NGRAM * slot + NGRAM] = rng.choice(known) + "q"
    return result


def documents() -> tuple[list[str], list[tuple[int, int]]]:
    """Texts, and the planted pairs among them."""
    rng = random.Random(1)
    known = vocabulary()
    weights = list(np.cumsum(1 / np.arange(1, len(known) + 1)))

    def words() -> list[str]:
        count = max(200, round(rng.lognormvariate(np.log(MEAN_WORDS) - 0.32, 0.8)))
        return rng.choices(known, cum_weights=weights, k=count)

    texts, pairs = [" ".join(words()) for _ in range(SINGLES)], []
    for similarity, count in PLANTED.items():
        for _ in range(count):
            original = words()
            pairs.append((len(texts), len(texts) + 1))
            texts += [" ".join(original), " ".join(planted(similarity, original, rng, known))]
    return texts, pairs


def exact_jaccard(a: str, b: str) -> float:
    """Of the sets of word n-grams, by Python's own sets."""
    left, right = (
        {tuple(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)}
        for words in (a.split(), b.split())
    )
    return len(left & right) / len(left | right)


def _cpu(work: Callable[[], Any]) -> float:
    before = os.times()
    work()
    return sum(os.times()[:4]) - sum(before[:4])


def ours(corpus: Path, out: Path) -> tuple[dict[str, float], set[str], set[tuple[str, str]]]:
    """CPU seconds of each stage, the doc_ids kept, and (dropped, survivor)."""
    execution = Execution(threads=1)
    signatures, clusters, kept = (out / name for name in ("minhash", "clusters", "kept"))
    steps = {
        "minhash": lambda: minhash(MinHashConfig(), {"scored": [corpus]}, signatures, execution),
        "dedup_clusters": lambda: cluster(DedupClustersConfig(), {"minhash": [signatures]}, clusters, execution),
        "deduplicate": lambda: deduplicate(
            DeduplicateConfig(), {"scored": [corpus], "dedup_clusters": [clusters]}, kept, execution
        ),
    }
    seconds = {name: _cpu(work) for name, work in steps.items()}
    ids = set(pq.read_table(kept / "part-00000.parquet")["doc_id"].to_pylist())
    rows = pq.read_table(clusters / "clusters.parquet").to_pylist()
    return seconds, ids, {(row["doc_id"], row["cluster_id"]) for row in rows if not row["kept"]}


def candidates(signatures: Path) -> Callable[[str, str], bool]:
    """Whether two documents share a band key."""
    table = pq.read_table(signatures / "part-00000.parquet")
    keys = np.stack([table[name].to_numpy() for name in table.column_names if name.startswith("band_")], axis=1)
    row = {doc_id: keys[index] for index, doc_id in enumerate(table["doc_id"].to_pylist())}
    return lambda a, b: bool((row[a] == row[b]).any())


def _show_curve(title: str, jaccard: Sequence[float], columns: Mapping[str, Callable[[int], float]]) -> None:
    print(f"\n{title}\n  {'similarity':<14}{'pairs':>7}" + "".join(f"{name:>22}" for name in columns))
    for low, high in pairwise(BINS):
        chosen = [index for index, value in enumerate(jaccard) if low <= value < high]
        if chosen:
            shares = [np.mean([column(index) for index in chosen]) for column in columns.values()]
            print(f"  {low:.2f} to {high:.2f}{len(chosen):>9}" + "".join(f"{share:>22.3f}" for share in shares))


def bench_dedup(tmp_path: Path) -> None:
    texts, pairs = documents()
    rows = [scored_row(index, text, score=index % 50 / 10) for index, text in enumerate(texts)]
    ids = [row["doc_id"] for row in rows]
    corpus = tmp_path / "scored"
    write_rows(corpus / "part-00000.parquet", rows, SCORED)
    text_of = dict(zip(ids, texts, strict=True))
    partner = {ids[a]: ids[b] for a, b in pairs} | {ids[b]: ids[a] for a, b in pairs}
    jaccard = [exact_jaccard(texts[a], texts[b]) for a, b in pairs]
    similar = {ids[index]: value for pair, value in zip(pairs, jaccard, strict=True) for index in pair}
    at_bar = [index for index, value in enumerate(jaccard) if 0.8 <= value < 0.82]
    print(f"\ndeduplication of {len(texts):,} documents of {sum(map(len, texts)) / len(texts):,.0f} characters")
    print(f"  {'':<34}{'CPU s':>8}{'documents/CPU s':>17}{'recall at .8':>14}{'precision':>11}")

    def show(name: str, seconds: float, kept: set[str]) -> None:
        found = [ids[a] not in kept or ids[b] not in kept for a, b in pairs]
        dropped = [doc_id for doc_id in ids if doc_id not in kept]
        right = [partner.get(doc_id) in kept and similar[doc_id] >= THRESHOLD for doc_id in dropped]
        recall, precision = np.mean([found[index] for index in at_bar]), np.mean(right)
        print(f"  {name:<34}{seconds:>8.1f}{len(texts) / seconds:>17,.0f}{recall:>14.3f}{precision:>11.3f}")

    seconds, kept, drops = ours(corpus, tmp_path / "ours")
    assert all(exact_jaccard(text_of[doc_id], text_of[survivor]) >= THRESHOLD for doc_id, survivor in drops)
    show("stillhouse", sum(seconds.values()), kept)
    print("    of which " + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()))
    config, meet = MinHashConfig(), candidates(tmp_path / "ours" / "minhash")
    _show_curve(
        "recall of candidates, measured and stated",
        jaccard,
        {
            "stillhouse": lambda index: meet(ids[pairs[index][0]], ids[pairs[index][1]]),
            "1-(1-s^7)^18": lambda index: config.recall(jaccard[index]),
        },
    )
    print()
    for words, title in (("spaces", "datatrove, words cut at spaces"), ("spacy", "datatrove, its English words")):
        peer = datatrove("dedup", tmp_path / words, corpus=corpus, words=words)
        show(title, cpu_seconds(peer), set(peer["kept"]))
        print("    of which " + ", ".join(f"{name} {cpu:.1f} s" for name, (_, cpu) in peer["seconds"].items()))
        print(f"    stillhouse / datatrove: {cpu_seconds(peer) / sum(seconds.values()):.1f}x")
