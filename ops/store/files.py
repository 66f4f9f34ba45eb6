"""Hashing, syncing and sweeping of a directory of files."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ops.errors import InputError
from ops.store.record import RECORD_NAME, FileEntry

BLOCK = 1 << 20


def sha256_stream(stream: Any) -> str:
    """SHA-256 of what is left of a binary stream."""
    digest = hashlib.sha256()
    while block := stream.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, streamed."""
    with path.open("rb") as stream:
        return sha256_stream(stream)


def describe(directory: Path, volatile: Collection[str]) -> dict[str, FileEntry]:
    """Every file below `directory` but the record, synced to disk and hashed, sorted by name.

    Raises:
        InputError: when a volatile name is not a file, or a file is a link.
    """
    entries: dict[str, FileEntry] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            raise InputError(f"{path}: an artefact holds no links")
        name = path.relative_to(directory).as_posix()
        if not path.is_file() or name == RECORD_NAME:
            continue
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        entries[name] = FileEntry(sha256=sha256_of(path), bytes=path.stat().st_size, volatile=name in volatile)
    missing = sorted(set(volatile) - set(entries))
    if missing:
        raise InputError(f"{directory}: the stage named volatile files that it did not write: {missing}")
    return entries


def sync_directory(directory: Path) -> None:
    """Flush a directory's entries, so that a rename in it survives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
