"""The store over any fsspec file system.

Local (`file`): an attempt works in `.work/<path>/` under a lock and is published by one rename of the whole directory,
record included, so that a reader sees all of it or nothing. Elsewhere (`s3`, `memory`): an attempt uploads its files
below a folder of its own and then creates `record.json` exclusively (If-None-Match); of two writers one wins, the other
takes its files away and serves the winner's record. In both the record comes last.
"""

import errno
import fcntl
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ops.atomic import sweep
from ops.errors import ArtifactCorrupt, ArtifactMissing, ArtifactRejected, StoreError
from ops.store.files import sha256_of, sha256_stream, sync_directory
from ops.store.record import RECORD_NAME, ArtifactId, Record

logger = logging.getLogger("stillhouse")


class Store:
    """Artefacts at a URL, and a local directory for work under way and for copies of remote artefacts."""

    def __init__(self, url: str, *, scratch: Path | None = None, storage_options: dict[str, Any] | None = None) -> None:
        """
        Args:
            url: a path or any fsspec URL, such as `store`, `file:///data/store`, `s3://bucket/prefix`.
            scratch: local directory for work and copies; default: the store itself when it is local, else `store`.
            storage_options: for the file system, such as an S3 endpoint.
        """
        self.url = url
        self.fs, root = fsspec.core.url_to_fs(url, **(storage_options or {}))
        self.root: str = root.rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.scratch = scratch or (Path(self.root) if self.is_local else Path("store"))

    @property
    def absolute_url(self) -> str:
        """The URL for a process that works in another directory."""
        return self.fs.unstrip_protocol(self.root)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    # Reading

    def find(self, artifact: ArtifactId) -> Record | None:
        """The record of an artefact, accepted or rejected; None when there is none.

        Raises:
            ArtifactCorrupt: when the record was edited, or a file is missing or has another size.
        """
        try:
            return self.read(f"{artifact.path}/{RECORD_NAME}")
        except FileNotFoundError:
            return None

    def read(self, path: str) -> Record:
        """The record at a path below the store, as `record_paths` gives it.

        Raises:
            ArtifactCorrupt: when it was edited, or is the record of another artefact.
        """
        record = Record.from_json(self.fs.cat_file(f"{self.root}/{path}"), path)
        if f"{record.id.path}/{RECORD_NAME}" != path:
            raise ArtifactCorrupt(f"{path}: holds the record of {record.id}")
        return record

    def get(self, artifact: ArtifactId) -> Record:
        """The record of an accepted artefact whose files are all there.

        Raises:
            ArtifactMissing: no record.
            ArtifactRejected: a blocking check failed.
            ArtifactCorrupt: the record or a file is not what was written.
        """
        record = self.find(artifact)
        if record is None:
            raise ArtifactMissing(f"{artifact}: not in the store {self.url}")
        if record.status != "accepted":
            failed = [check.name for check in record.checks if not check.passed and check.blocking]
            raise ArtifactRejected(f"{artifact}: rejected by {failed}; it feeds no child")
        self._check_sizes(record)
        return record

    def record_paths(self, prefix: str = "") -> Iterator[str]:
        """Paths below the store of all records whose path starts with the folder `prefix`, sorted."""
        base = f"{self.root}/{prefix}".rstrip("/")
        if not self.fs.exists(base):
            return
        for path in sorted(self.fs.find(base)):
            relative = path[len(self.root) + 1 :]
            if path.endswith(f"/{RECORD_NAME}") and not relative.startswith("."):
                yield relative

    def records(self, prefix: str = "") -> Iterator[Record]:
        """All records below the folder `prefix`, sorted by path."""
        return map(self.read, self.record_paths(prefix))

    def local_path(self, record: Record) -> Path:
        """A local directory with the artefact's files and record: the artefact itself, or a verified copy of it.

        Raises:
            ArtifactCorrupt: when a downloaded file does not have the recorded digest.
        """
        if self.is_local:
            return Path(self.root) / record.id.path
        target = self.scratch / ".copies" / record.id.path
        if (target / RECORD_NAME).exists():
            return target
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        for name, entry in record.files.items():
            local = partial / name
            local.parent.mkdir(parents=True, exist_ok=True)
            self.fs.get_file(self._file_path(record, name), str(local))
            if sha256_of(local) != entry.sha256:
                raise ArtifactCorrupt(f"{record.id}: {name} does not have the recorded SHA-256")
        partial.mkdir(parents=True, exist_ok=True)
        (partial / RECORD_NAME).write_text(record.to_json())
        try:
            partial.rename(target)
        except OSError:
            shutil.rmtree(partial)
            if not (target / RECORD_NAME).exists():
                raise
        return target

    def read_file(self, record: Record, name: str) -> bytes:
        """One file of an artefact."""
        return self.fs.cat_file(self._file_path(record, name))

    def verify(self, record: Record) -> list[str]:
        """Hash every file again; what is wrong, a line each (empty: nothing)."""
        problems = []
        for name, entry in record.files.items():
            try:
                with self.fs.open(self._file_path(record, name), "rb") as stream:
                    found = sha256_stream(stream)
            except FileNotFoundError:
                problems.append(f"{record.id}: {name} is missing")
                continue
            if found != entry.sha256:
                problems.append(f"{record.id}: {name} was changed (SHA-256 {found[:12]}, recorded {entry.sha256[:12]})")
        folder = f"{self.root}/{record.id.path}"
        known = {self._file_path(record, name) for name in record.files} | {f"{folder}/{RECORD_NAME}"}
        problems += [f"{record.id}: {path} is not in the record" for path in self.fs.find(folder) if path not in known]
        return problems

    # Writing

    def work_path(self, artifact: ArtifactId) -> Path:
        """Where attempts at an artefact work. What a killed one left there is gone on from."""
        return self.scratch / ".work" / artifact.path

    @contextmanager
    def lock(self, artifact: ArtifactId) -> Iterator[None]:
        """Hold the artefact's lock on this machine; wait for another process that holds it. Ends with the process."""
        work = self.work_path(artifact)
        path = work.with_name(f"{work.name}.lock")
        with clear_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            waited = False
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not waited:
                        logger.info("%s: another process is at work on it, waiting", artifact)
                        waited = True
                    time.sleep(0.2)
            yield
        finally:
            os.close(descriptor)

    def busy(self) -> list[str]:
        """Artefacts that a process on this machine is at work on."""
        held = []
        base = self.scratch / ".work"
        for path in sorted(base.rglob("*.lock")):
            with path.open("r+") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    held.append(path.relative_to(base).with_suffix("").as_posix())
        return held

    def publish(self, work: Path, record: Record) -> Record:
        """Make the files in `work` the artefact `record`. The record comes last, at once and whole.

        Returns:
            `record`, or the record of another writer who was first (then `work` is gone all the same).

        Raises:
            StoreError: when the store cannot be written (names the path and why); the work stays where it is.
        """
        sweep(work)
        if self.is_local:
            return self._publish_by_rename(work, record)
        return self._publish_by_exclusive_create(work, record)

    def _publish_by_rename(self, work: Path, record: Record) -> Record:
        target = Path(self.root) / record.id.path
        with clear_errors(target):
            path = work / RECORD_NAME
            with path.open("w") as stream:
                stream.write(record.to_json())
                stream.flush()
                os.fsync(stream.fileno())
            sync_directory(work)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                work.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                winner = self.find(record.id)
                if winner is None:
                    raise StoreError(f"{target}: exists without a record; move it away") from error
                shutil.rmtree(work)
                return winner
            sync_directory(target.parent)
        return record

    def _publish_by_exclusive_create(self, work: Path, record: Record) -> Record:
        attempt = f"files-{secrets.token_hex(4)}"
        mine = Record(**{**vars(record), "files_at": attempt})
        folder = f"{self.root}/{record.id.path}"
        with clear_errors(folder):
            for name in record.files:
                self.fs.put_file(str(work / name), f"{folder}/{attempt}/{name}")
            try:
                self.fs.pipe_file(f"{folder}/{RECORD_NAME}", mine.to_json().encode(), mode="create")
            except (FileExistsError, OSError) as error:
                if not _already_exists(error):
                    raise
                self.fs.rm(f"{folder}/{attempt}", recursive=True)
                winner = self.find(record.id)
                if winner is None:
                    raise StoreError(f"{folder}: the record that was there has gone") from error
                shutil.rmtree(work)
                return winner
        shutil.rmtree(work)
        return mine

    def remove(self, artifact: ArtifactId) -> None:
        """Delete an artefact, its record first (so that a reader never sees a record without files)."""
        folder = f"{self.root}/{artifact.path}"
        self.fs.rm(f"{folder}/{RECORD_NAME}")
        if self.fs.exists(folder):
            self.fs.rm(folder, recursive=True)
        shutil.rmtree(self.scratch / ".copies" / artifact.path, ignore_errors=True)

    # Paths

    def _file_path(self, record: Record, name: str) -> str:
        parts = [self.root, record.id.path, record.files_at, name]
        return "/".join(part for part in parts if part)

    def _check_sizes(self, record: Record) -> None:
        folder = "/".join(part for part in (self.root, record.id.path, record.files_at) if part)
        found = self.fs.find(folder, detail=True)
        for name, entry in record.files.items():
            path = self._file_path(record, name)
            if path not in found:
                raise ArtifactCorrupt(f"{record.id}: {path} is missing; remove the artefact to have it made again")
            if found[path]["size"] != entry.bytes:
                raise ArtifactCorrupt(
                    f"{record.id}: {path} has {found[path]['size']} bytes, recorded {entry.bytes}; "
                    "remove the artefact to have it made again"
                )


def _already_exists(error: Exception) -> bool:
    return isinstance(error, FileExistsError) or "PreconditionFailed" in repr(error) or "412" in repr(error)


@contextmanager
def clear_errors(path: Path | str) -> Iterator[None]:
    """Turn a full disk and a read-only store into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreError(f"{path}: no space left; free some and run again, finished work is kept") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StoreError(f"{path}: the store cannot be written here: {error.strerror}") from error
        raise
