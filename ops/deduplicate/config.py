"""Config of `ops.deduplicate`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DeduplicateConfig:
    """Whether near duplicates go too."""

    drop_near: bool = True
    """False drops exact duplicates alone."""
