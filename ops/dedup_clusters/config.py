"""Config of `ops.dedup_clusters`."""

from dataclasses import dataclass

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class DedupClustersConfig:
    """When two documents are duplicates.

    Raises:
        InputError: naming the field.
    """

    threshold: float = 0.8
    """Jaccard similarity of shingle sets from which two documents are near duplicates."""

    max_hubs: int = 64
    """In a bucket of more than this many documents only the best-ranked this many are compared with all others, so
    that a bucket of m documents costs at most m * max_hubs comparisons. Copies of one page find each other by the
    first hub; what is lost are pairs in buckets with more than `max_hubs` documents unlike each other."""

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise InputError(f"threshold: {self.threshold} is not within 0..1")
        if self.max_hubs < 1:
            raise InputError(f"max_hubs: {self.max_hubs} is not positive")
