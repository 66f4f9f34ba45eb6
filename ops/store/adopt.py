"""Bring data that was made elsewhere into the store, as an accepted artefact named by its content."""

import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path

from ops.errors import InputError
from ops.store.files import describe
from ops.store.record import ArtifactId, Cost, Record, content_digest
from ops.store.store import Store


def adopt(store: Store, asset: str, source: Path, *, partition: str | None = None) -> Record:
    """Copy the directory `source` into the store as `<asset>/[<partition>/]adopted-<digest>`.

    Adopting the same bytes again gives the same artefact.

    Raises:
        InputError: when `source` is not a directory with files in it.
    """
    if not source.is_dir():
        raise InputError(f"{source}: not a directory")
    files = describe(source, volatile=())
    if not files:
        raise InputError(f"{source}: holds no file")
    digest = content_digest(files)
    artifact = ArtifactId(asset=asset, partition=partition, version=f"adopted-{digest[:12]}")
    found = store.find(artifact)
    if found is not None:
        return found
    work = store.work_path(artifact).with_name(f"{artifact.version}-{uuid.uuid4().hex[:8]}")
    for name in files:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, work / name)
    record = Record(
        asset=asset,
        partition=partition,
        version=artifact.version,
        fingerprint=digest,
        code_version="adopted",
        stage="adopted",
        config={},
        observed={"source": source.resolve().name},
        parents=(),
        files=describe(work, volatile=()),
        files_at="",
        digest=digest,
        status="accepted",
        counts={"files": len(files)},
        dropped={},
        checks=(),
        summary={},
        cost=Cost(wall_s=0.0, cpu_s=0.0, peak_rss_bytes=0),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=None,
    )
    if content_digest(record.files) != digest:
        raise InputError(f"{source}: changed while it was copied")
    return store.publish(work, record)
