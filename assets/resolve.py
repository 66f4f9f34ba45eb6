"""From an asset and a partition of the current recipe to its request, its parents found in the store.

A parent is the accepted artefact of the *current* recipe: found by its fingerprint, not by Dagster's history. So plain
`python`, a fresh Dagster instance and a schedule all see the same parents, and an artefact of an older recipe never
feeds a newer one unnoticed.
"""

from collections.abc import Callable, Mapping

from assets.node import Node
from ops.errors import ArtifactMissing, ArtifactRejected
from ops.execute import Request, identify
from ops.stage import Execution
from ops.store import ArtifactId, Record, Store

BUCKET_DIGITS = 2


def partition_keys(node: Node, crawls: tuple[str, ...], num_buckets: int) -> list[str | None]:
    """All partitions of a node, in order."""
    if node.scope == "whole":
        return [None]
    if node.scope == "crawl":
        return list(crawls)
    return [f"{crawl}|{bucket:0{BUCKET_DIGITS}d}" for crawl in crawls for bucket in range(num_buckets)]


class Resolver:
    """Requests and records of one recipe in one store. Remembers what it found: use a new one for each run."""

    def __init__(
        self,
        graph: Mapping[str, Node],
        store: Store,
        *,
        crawls: tuple[str, ...],
        num_buckets: int,
        execution_of: Callable[[Node], Execution],
        pins: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            execution_of: how a node runs here; its `source` is where the node looks outside the store.
            pins: asset -> version in the store to take instead of the recipe's (adopted data, an older checkpoint).
        """
        self.graph, self.store, self.execution_of = graph, store, execution_of
        self.crawls, self.num_buckets = crawls, num_buckets
        self.pins = pins or {}
        self._records: dict[tuple[str, str | None], Record] = {}

    def request(self, asset: str, partition: str | None = None) -> Request:
        """What has to be made, with the records of its parents.

        Raises:
            ArtifactMissing, ArtifactRejected: when a parent is not there, naming what to materialize.
        """
        node = self.graph[asset]
        inputs = {
            name: [self.record(parent, key) for parent in parents for key in self.parent_keys(node, parent, partition)]
            for name, parents in node.deps.items()
        }
        return Request(
            asset=asset, partition=partition, stage=node.stage, config=node.config_at(partition), inputs=inputs
        )

    def record(self, asset: str, partition: str | None = None) -> Record:
        """The accepted record of an asset under the current recipe.

        Raises:
            ArtifactMissing: it has not been materialized.
            ArtifactRejected: a blocking check failed.
            ArtifactCorrupt: it is not what was written.
        """
        key = (asset, partition)
        if key not in self._records:
            self._records[key] = self._find(asset, partition)
        return self._records[key]

    def _find(self, asset: str, partition: str | None) -> Record:
        label = f"{asset}[{partition}]" if partition else asset
        if asset in self.pins:
            return self.store.get(ArtifactId(asset=asset, partition=partition, version=self.pins[asset]))
        artifact, _, _ = identify(self.request(asset, partition), self.execution_of(self.graph[asset]))
        try:
            return self.store.get(artifact)
        except ArtifactMissing:
            raise ArtifactMissing(
                f"{label} of the current recipe ({artifact.version}) is not in {self.store.url}; "
                f"materialize {asset} first"
            ) from None
        except ArtifactRejected as error:
            raise ArtifactRejected(f"{error}. Mend its inputs or its recipe and materialize {asset} again") from error

    def parent_keys(self, child: Node, parent: str, partition: str | None) -> list[str | None]:
        """Which partitions of `parent` feed this partition of `child`."""
        node = self.graph[parent]
        keys = partition_keys(node, self.crawls, self.num_buckets)
        if node.scope == "whole" or partition is None or child.scope == "whole":
            return keys
        crawl = partition.partition("|")[0]
        if node.scope == "crawl":
            return [crawl]
        return [partition] if child.scope == "bucket" else [key for key in keys if key and key.startswith(f"{crawl}|")]
