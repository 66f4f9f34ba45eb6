"""Clusters of duplicates. Documents are numbered by rank, so the smallest number is always the one to keep."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ops.dedup_clusters.config import DedupClustersConfig
from ops.dedup_clusters.documents import I64, Documents
from ops.dedup_clusters.union_find import UnionFind
from ops.progress import track


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Per document by rank: who survives for it, how similar it is to that one, and whether its text is the same."""

    survivor: I64
    jaccard: npt.NDArray[np.float32]
    exact: npt.NDArray[np.bool_]
    counts: Counter[str]


def cluster(documents: Documents, config: DedupClustersConfig) -> Clusters:
    """Cluster all documents. `counts` holds `pairs_compared` and `pairs_similar`."""
    counts: Counter[str] = Counter({"pairs_compared": 0, "pairs_similar": 0})
    first_of_text = _exact(documents)
    distinct = np.flatnonzero((first_of_text == np.arange(len(documents))) & (documents.num_shingles > 0))
    sets = UnionFind(len(documents))
    for band in track(documents.bands, description="dedup_clusters", unit="band"):
        _join_band(documents, distinct, documents.band(band)[distinct], sets, config, counts)
    survivor = np.arange(len(documents), dtype=np.int64)
    jaccard = np.ones(len(documents), dtype=np.float32)
    for members in _groups(sets.roots()[distinct], distinct):
        _elect(documents, members, survivor, jaccard, config)
    survivor = survivor[first_of_text]
    exact = (survivor == first_of_text) & (first_of_text != np.arange(len(documents)))
    return Clusters(survivor=survivor, jaccard=jaccard[first_of_text], exact=exact, counts=counts)


def _exact(documents: Documents) -> I64:
    """For each document the best-ranked document of the same text."""
    first = np.arange(len(documents), dtype=np.int64)
    high, low = documents.digest_DX[:, 0], documents.digest_DX[:, 1]
    order = np.lexsort((first, low, high))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    starts = np.flatnonzero(new)
    first[order] = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
    return first


def _groups(keys: npt.NDArray, items: I64) -> list[I64]:
    """The groups of at least two `items` with equal `keys`; items stay in order."""
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    bounds = np.flatnonzero(np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1], [True]]))
    large = np.flatnonzero(np.diff(bounds) > 1)
    return [items[order[bounds[index] : bounds[index + 1]]] for index in large]


def _join_band(
    documents: Documents,
    distinct: I64,
    keys: npt.NDArray[np.uint64],
    sets: UnionFind,
    config: DedupClustersConfig,
    counts: Counter[str],
) -> None:
    """Compare the documents that share a key, and join the similar ones."""
    for bucket in _groups(keys, distinct):
        for position in range(min(len(bucket) - 1, config.max_hubs)):
            hub = int(bucket[position])
            root = sets.find(hub)
            others = np.array([item for item in bucket[position + 1 :] if sets.find(int(item)) != root], dtype=np.int64)
            if not len(others):
                continue
            similar = others[documents.jaccard(hub, others, at_least=config.threshold) >= config.threshold]
            counts["pairs_compared"] += len(others)
            counts["pairs_similar"] += len(similar)
            for other in similar:
                sets.union(hub, int(other))


def _elect(
    documents: Documents,
    members: I64,
    survivor: I64,
    jaccard: npt.NDArray[np.float32],
    config: DedupClustersConfig,
) -> None:
    """Choose survivors of a component, best rank first, each taking along what is similar to it."""
    while len(members) > 1:
        hub, rest = int(members[0]), members[1:]
        similarity = documents.jaccard(hub, rest, at_least=config.threshold)
        taken = similarity >= config.threshold
        survivor[rest[taken]] = hub
        jaccard[rest[taken]] = similarity[taken]
        members = rest[~taken]
