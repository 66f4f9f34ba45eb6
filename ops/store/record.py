"""The record of an artefact: what it is, what it came from, what it holds, what it cost.

A record is sealed: it carries the SHA-256 of its own canonical text, so that one edited by hand is noticed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ops.errors import ArtifactCorrupt, InputError
from ops.identity import canonical, decode, encode
from ops.stage import Check

RECORD_NAME = "record.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ArtifactId:
    """The name of an artefact. Its directory is `<asset>/[<partition>/]<version>/`."""

    asset: str
    partition: str | None = None
    """Dagster's key, `CRAWL|BUCKET` for two dimensions; each dimension is a folder in the path."""

    version: str
    """`<stage version>-<first 12 hex digits of the fingerprint>`."""

    def __post_init__(self) -> None:
        for part in self.path.split("/"):
            if not part or part.startswith(".") or "\\" in part:
                raise InputError(f"artefact {self.path!r}: {part!r} cannot be a folder name")

    @property
    def path(self) -> str:
        folders = self.partition.split("|") if self.partition else []
        return "/".join([self.asset, *folders, self.version])

    def __str__(self) -> str:
        return f"{self.asset}[{self.partition}]@{self.version}" if self.partition else f"{self.asset}@{self.version}"


BESIDE = "beside"
"""In place of an input's name: an artefact that the stage took or made by itself, which is not part of its identity."""


@dataclass(frozen=True, kw_only=True)
class Parent:
    """An artefact that fed this one, under the name of the stage's input."""

    input: str
    asset: str
    partition: str | None = None
    version: str
    digest: str

    @property
    def id(self) -> ArtifactId:
        return ArtifactId(asset=self.asset, partition=self.partition, version=self.version)


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of the artefact."""

    sha256: str
    bytes: int
    volatile: bool = False
    """Holds measured times: verified, but not part of the content digest."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the attempt that finished the artefact cost. Earlier, killed attempts are not in it."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    tokens: int = 0
    flops: float = 0.0
    resumed: bool = False
    """True when it went on from the work of a killed attempt."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything known about one artefact."""

    asset: str
    partition: str | None
    version: str
    fingerprint: str
    code_version: str
    stage: str
    config: Mapping[str, Any]
    """The encoded identity config."""

    observed: Any
    """What the stage saw outside the store (package versions, file names and sizes)."""

    parents: tuple[Parent, ...]
    files: Mapping[str, FileEntry]
    files_at: str
    """Folder of the files below the artefact's directory; empty when they lie beside the record."""

    digest: str
    """Content digest: SHA-256 over the names and SHA-256 of all files that are not volatile."""

    status: Literal["accepted", "rejected"]
    counts: Mapping[str, int]
    dropped: Mapping[str, int]
    checks: tuple[Check, ...]
    summary: Mapping[str, Any]
    cost: Cost
    created_at: str
    git_commit: str | None
    format: int = FORMAT

    @property
    def id(self) -> ArtifactId:
        return ArtifactId(asset=self.asset, partition=self.partition, version=self.version)

    @property
    def num_bytes(self) -> int:
        return sum(entry.bytes for entry in self.files.values())

    def parent(self, input_name: str) -> Parent:
        return Parent(
            input=input_name, asset=self.asset, partition=self.partition, version=self.version, digest=self.digest
        )

    def to_json(self) -> str:
        """Sealed, indented JSON."""
        data = _plain(self)
        return json.dumps({**data, "seal": _seal(data)}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> "Record":
        """Read a record back.

        Raises:
            ArtifactCorrupt: when it is not JSON, is not sealed by its own content, or lacks a field (names `where`).
        """
        try:
            data = json.loads(text)
            seal = data.pop("seal")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ArtifactCorrupt(f"{where}: not a record: {error!r}") from error
        if seal != _seal(data):
            raise ArtifactCorrupt(
                f"{where}: the record was changed after it was written (its seal does not match). Restore it, or "
                "remove the artefact's directory to have it made again."
            )
        if data.get("format") != FORMAT:
            raise ArtifactCorrupt(f"{where}: record format {data.get('format')}, this code reads {FORMAT}")
        try:
            return decode(cls, data, where)
        except InputError as error:
            raise ArtifactCorrupt(str(error)) from error


def _plain(record: Record) -> dict[str, Any]:
    data = encode(record)
    del data["class"], data["cost"]["class"]
    for entry in [*data["parents"], *data["checks"], *data["files"].values()]:
        del entry["class"]
    return data


def _seal(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(data).encode()).hexdigest()


def content_digest(files: Mapping[str, FileEntry]) -> str:
    """SHA-256 over the names and digests of all files that are not volatile."""
    stable = {name: entry.sha256 for name, entry in files.items() if not entry.volatile}
    return hashlib.sha256(canonical(stable).encode()).hexdigest()
