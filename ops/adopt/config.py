"""Adopting has no settings: what is adopted is `execution.source`, and `observe` says what lies there."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AdoptConfig:
    """Nothing to set."""
