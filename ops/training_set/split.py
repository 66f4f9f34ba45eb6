"""The split: a document's cluster decides, so that near-duplicates never straddle it."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase

from ops.training_set.config import TrainingSetConfig


def cluster_hash(cluster_id: str, seed: int) -> float:
    """A number in [0, 1) keyed by seed: the first 53 bits of SHA-256("seed:cluster_id")."""
    digest = hashlib.sha256(f"{seed}:{cluster_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def document_phases(math_int_score: int, config: TrainingSetConfig) -> int:
    """The data phases of a document, bit 0 for phase 1, bit 1 for phase 2."""
    phase1 = math_int_score >= config.phase1_min_int_score
    phase2 = math_int_score >= config.phase2_min_int_score
    return int(phase1) | int(phase2) << 1


def source_weight(source: str, config: TrainingSetConfig) -> float:
    """How often an epoch of training reads a source's documents."""
    return next((entry.weight for entry in config.mixture if fnmatchcase(source, entry.pattern)), 1.0)


class Split:
    """Which clusters are held out.

    A cluster is held out when its hash is below the validation fraction. A source with at least
    `large_source_documents` documents but fewer than `min_validation_documents_per_source` held out also gives its
    clusters of the lowest hashes.
    """

    def __init__(self, documents: Iterable[tuple[str, str]], config: TrainingSetConfig) -> None:
        """`documents`: (source, cluster_id) of every document, in any order."""
        self._config = config
        wanted = config.min_validation_documents_per_source
        sizes: Counter[str] = Counter()
        held_out: Counter[str] = Counter()
        lowest: dict[str, list[tuple[float, str]]] = {}  # per source, a heap (negated) of the `wanted` lowest hashes
        for source, cluster_id in documents:
            sizes[source] += 1
            number = cluster_hash(cluster_id, config.seed)
            if number < config.validation_fraction:
                held_out[source] += 1
            elif wanted:
                heap = lowest.setdefault(source, [])
                entry = (-number, cluster_id)
                if entry not in heap:
                    heapq.heappush(heap, entry)
                    if len(heap) > wanted:
                        heapq.heappop(heap)
        self._promoted: set[str] = set()
        for source, heap in lowest.items():
            missing = wanted - held_out[source]
            if sizes[source] >= config.large_source_documents and missing > 0:
                self._promoted.update(cluster_id for _, cluster_id in heapq.nlargest(missing, heap))

    def of(self, cluster_id: str) -> str:
        """`train` or `validation`."""
        held_out = cluster_hash(cluster_id, self._config.seed) < self._config.validation_fraction
        return "validation" if held_out or cluster_id in self._promoted else "train"
