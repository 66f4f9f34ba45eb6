"""One node of the graph: a stage, its part of the recipe, its parents."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ops.execute import Stage

Scope = Literal["whole", "crawl", "bucket"]
"""One artefact in all, one per crawl, or one per crawl and bucket."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One asset: its stage, its part of the recipe and its parents."""

    asset: str
    group: str
    stage: Stage
    config: Any
    scope: Scope = "whole"
    deps: Mapping[str, tuple[str, ...]]
    """Input of the stage -> the assets behind it."""

    checks: tuple[str, ...]
    """Names of the checks that the stage reports."""

    description: str
    kinds: tuple[str, ...]
    at_partition: Callable[[Any, str, str], Any] | None = None
    """(config, crawl, bucket) -> config, when the stage must know its partition."""

    heavy: bool = False
    """Imports torch: runs in a child process, in the `gpu` pool."""

    source: str | None = None
    """Which setting names what it reads outside the store (`warcs`, `llm`, `labels`, ...; see
    `Settings.sources`), if it does."""

    pool: str | None = None

    def config_at(self, partition: str | None) -> Any:
        """The stage's config for one partition (`CRAWL` or `CRAWL|BUCKET`)."""
        if self.at_partition is None or partition is None:
            return self.config
        crawl, _, bucket = partition.partition("|")
        return self.at_partition(self.config, crawl, bucket)

    @property
    def code_version(self) -> str:
        return self.stage.code_version(self.config)
