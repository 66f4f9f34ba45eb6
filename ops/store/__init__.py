"""The store: artefacts as directories with a record beside the data. `python -m ops.store --help`."""

from ops.store.record import ArtifactId, Cost, FileEntry, Parent, Record
from ops.store.store import Store

__all__ = ["ArtifactId", "Cost", "FileEntry", "Parent", "Record", "Store"]
