"""Walks over records: up to the crawl files an artefact came from, down to all that came from it."""

from collections.abc import Iterable, Iterator

from ops.errors import ArtifactMissing
from ops.store.record import ArtifactId, Record
from ops.store.store import Store


def require(store: Store, artifact: ArtifactId) -> Record:
    """The record of an artefact, accepted or rejected.

    Raises:
        ArtifactMissing: when there is none.
    """
    record = store.find(artifact)
    if record is None:
        raise ArtifactMissing(f"{artifact}: not in the store {store.url}")
    return record


def parents(store: Store, record: Record) -> list[Record]:
    """Direct parents, each once, in the order of the record."""
    seen: dict[str, Record] = {}
    for parent in record.parents:
        if parent.id.path not in seen:
            seen[parent.id.path] = require(store, parent.id)
    return list(seen.values())


def ancestors(store: Store, roots: Iterable[Record]) -> Iterator[Record]:
    """`roots` and everything they descend from, each once."""
    seen: set[str] = set()
    queue = list(roots)
    while queue:
        record = queue.pop()
        if record.id.path in seen:
            continue
        seen.add(record.id.path)
        yield record
        queue += parents(store, record)


def descendants(store: Store, root: Record) -> list[Record]:
    """Everything in the store that descends from `root`, without it, sorted by path."""
    children: dict[str, list[Record]] = {}
    for record in store.records():
        for parent in record.parents:
            children.setdefault(parent.id.path, []).append(record)
    found: dict[str, Record] = {}
    queue = [root]
    while queue:
        for child in children.get(queue.pop().id.path, []):
            if child.id.path not in found:
                found[child.id.path] = child
                queue.append(child)
    return [found[path] for path in sorted(found)]


def collectable(store: Store, keep: Iterable[ArtifactId] = ()) -> list[Record]:
    """What `gc` may delete: all records but the newest accepted one of each asset and partition, what `keep` names,
    and everything those descend from."""
    everything = list(store.records())
    newest: dict[tuple[str, str | None], Record] = {}
    for record in everything:
        if record.status == "accepted":
            known = newest.get((record.asset, record.partition))
            if known is None or (known.created_at, known.version) < (record.created_at, record.version):
                newest[record.asset, record.partition] = record
    roots = [*newest.values(), *(require(store, artifact) for artifact in keep)]
    kept = {record.id.path for record in ancestors(store, roots)}
    return [record for record in everything if record.id.path not in kept]
