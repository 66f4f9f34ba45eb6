"""Clusters of duplicates. Documents are numbered by rank, so the smallest number is always the one to keep."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ops.dedup_clusters.config import DedupClustersConfig
from ops.dedup_clusters.documents import I64, Documents
from ops.dedup_clusters.union_find import UnionFind
from ops.progress import track

SMALL_COMPONENT = 64
"""Members of a component up to so many are all compared."""


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
    near = _Near(documents, members, config.threshold) if len(members) > SMALL_COMPONENT else None
    left = np.ones(len(members), dtype=bool)
    for place in range(len(members)):
        if not left[place]:
            continue
        hub = int(members[place])
        later = np.arange(place + 1, len(members)) if near is None else near.after(place)
        later = later[left[later]]
        similarity = documents.jaccard(hub, members[later], at_least=config.threshold)
        taken = similarity >= config.threshold
        survivor[members[later[taken]]] = hub
        jaccard[members[later[taken]]] = similarity[taken]
        left[later[taken]] = False


class _Near:
    """Which members of a large component can be similar to one of them at all.

    Two sets of Jaccard similarity t or more share at least `ceil(t * n)` items, n the size of either, and so, in any
    order of all items, one of the first `n - ceil(t * n) + 1` of each (prefix filtering: Chaudhuri, Ganti, Kaushik
    2006; Bayardo, Ma, Srikant 2007). Nothing similar is missed, and a chain of m documents costs no m**2 comparisons.

    Memory: 16 bytes for a fifth of the shingles of the component, at a threshold of 0.8.
    """

    def __init__(self, documents: Documents, members: I64, threshold: float) -> None:
        self._prefixes = []
        for member in members:
            items = documents.shingles(int(member))
            self._prefixes.append(items[: len(items) - math.ceil(threshold * len(items) - 1e-6) + 1])
        item_P = np.concatenate(self._prefixes)
        place_P = np.repeat(np.arange(len(members)), [len(prefix) for prefix in self._prefixes])
        order = np.argsort(item_P, kind="stable")
        self._item_P, self._place_P = item_P[order], place_P[order]

    def after(self, place: int) -> I64:
        """Places behind `place` whose prefix meets its own, ascending."""
        first = np.searchsorted(self._item_P, self._prefixes[place], side="left")
        last = np.searchsorted(self._item_P, self._prefixes[place], side="right")
        found = np.unique(np.concatenate([self._place_P[a:b] for a, b in zip(first, last, strict=True)]))
        return found[found > place]
