"""From an identity to an artefact: reuse, lock, run, check, measure, publish.

`execute` needs no Dagster and imports no stage by itself: a stage is named by its package, whose module `run` is
imported when it is time to run, here or in a child process (see `ops.launch`).
"""

import dataclasses
import importlib
import logging
import multiprocessing
import resource
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.atomic import sweep
from ops.errors import InputError
from ops.identity import encode, fingerprint
from ops.stage import Execution, StageResult
from ops.store import ArtifactId, Cost, Record, Store
from ops.store.files import describe
from ops.store.record import BESIDE, Parent, content_digest
from ops.store.store import clear_errors

logger = logging.getLogger("stillhouse")

VERSION_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A kind of step: the package that holds it and the version of its code.

    The version is raised by hand whenever a change of the code may change the result.
    """

    package: str
    """Such as `ops.extract`; its module `run` has `run` and, when it looks outside the store, `observe`."""

    version: str
    observes: bool = False
    distributed: bool = False
    """Its `run` divides its work among the processes that torchrun starts; any other stage is given one."""

    @property
    def name(self) -> str:
        return self.package.removeprefix("ops.")

    def module(self) -> Any:
        return importlib.import_module(f"{self.package}.run")

    def code_version(self, config: Any) -> str:
        """What Dagster compares: the stage's version and the fingerprint of its part of the recipe."""
        return f"{self.version}+{fingerprint(config)[:VERSION_DIGITS]}"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One artefact to be made: identity and parents."""

    asset: str
    partition: str | None = None
    stage: Stage
    config: Any
    inputs: Mapping[str, Sequence[Record]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A stage's `run` with everything it is given."""

    stage: Stage
    config: Any
    inputs: Mapping[str, Sequence[Path]]
    out: Path
    execution: Execution


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An artefact's record, and whether it was there already."""

    record: Record
    reused: bool


Launch = Callable[[Call], StageResult]


def run_in_process(call: Call) -> StageResult:
    """The simplest launcher."""
    return call.stage.module().run(call.config, call.inputs, call.out, call.execution)


def identify(request: Request, execution: Execution) -> tuple[ArtifactId, str, Any]:
    """The artefact's id, its full fingerprint and what the stage observed.

    The fingerprint covers the stage, its version, the config, the partition, each parent's asset, partition and content
    digest, and what the stage observes outside the store. A parent made again with the same bytes changes nothing.
    """
    observed = request.stage.module().observe(request.config, execution) if request.stage.observes else None
    identity = {
        "stage": request.stage.name,
        "stage_version": request.stage.version,
        "config": encode(request.config),
        "partition": request.partition,
        "parents": [
            [name, record.asset, record.partition, record.digest]
            for name in sorted(request.inputs)
            for record in request.inputs[name]
        ],
        "observed": observed,
    }
    whole = fingerprint(identity)
    version = f"{request.stage.version}-{whole[:VERSION_DIGITS]}"
    return ArtifactId(asset=request.asset, partition=request.partition, version=version), whole, observed


def find(store: Store, request: Request, execution: Execution) -> Record | None:
    """The record of the requested artefact if it is in the store, accepted or rejected."""
    return store.find(identify(request, execution)[0])


def execute(store: Store, request: Request, execution: Execution, launch: Launch = run_in_process) -> Outcome:
    """Make the artefact, or find it made.

    A finished record of the same fingerprint is served as it is, accepted or rejected. Otherwise the stage runs in the
    artefact's work directory, under its lock, going on from what a killed attempt left there.

    Raises:
        InputError, StoreError: errors a user can act on; the work so far is kept.
    """
    artifact, whole, observed = identify(request, execution)
    found = store.find(artifact)
    if found is not None:
        return Outcome(record=found, reused=True)
    with store.lock(artifact):
        found = store.find(artifact)
        if found is not None:
            return Outcome(record=found, reused=True)
        work = store.work_path(artifact)
        resumed = work.exists()
        with clear_errors(work):
            work.mkdir(parents=True, exist_ok=True)
            sweep(work)
            inputs = {
                name: [store.local_path(record) for record in records] for name, records in request.inputs.items()
            }
            logger.info("%s: %s", artifact, "going on with a killed attempt" if resumed else "starting")
            here = dataclasses.replace(execution, store=store.absolute_url)
            call = Call(stage=request.stage, config=request.config, inputs=inputs, out=work, execution=here)
            result, cost = _measured(call, launch)
            files = describe(work, set(result.volatile))
        if not files:
            raise InputError(f"{artifact}: stage {request.stage.name!r} wrote no file")
        record = Record(
            asset=request.asset,
            partition=request.partition,
            version=artifact.version,
            fingerprint=whole,
            code_version=request.stage.code_version(request.config),
            stage=request.stage.name,
            config=encode(request.config),
            observed=observed,
            parents=(
                *(record.parent(name) for name in sorted(request.inputs) for record in request.inputs[name]),
                *(Parent(input=BESIDE, **parent) for parent in result.parents),
            ),
            files=files,
            files_at="",
            digest=content_digest(files),
            status="accepted" if all(check.passed or not check.blocking for check in result.checks) else "rejected",
            counts=dict(result.counts),
            dropped=dict(result.dropped),
            checks=tuple(result.checks),
            summary=dict(result.summary),
            cost=dataclasses.replace(cost, resumed=resumed),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            git_commit=_git_commit(),
        )
        return Outcome(record=store.publish(work, record), reused=False)


def execute_many(
    store: Store, requests: Sequence[Request], execution: Execution, *, num_processes: int = 1
) -> Iterator[Outcome]:
    """`execute` each request; outcomes in order. What is not in the store yet is made by up to `num_processes` at a
    time, each in a process of its own; where there are fewer, each is given a share of the processes."""
    found = [find(store, request, execution) for request in requests]
    missing = [request for request, record in zip(requests, found, strict=True) if record is None]
    with _executor(store, missing, execution, min(num_processes, len(missing))) as made:
        for record in found:
            yield next(made) if record is None else Outcome(record=record, reused=True)


@contextmanager
def _executor(
    store: Store, requests: Sequence[Request], execution: Execution, num_processes: int
) -> Iterator[Iterator[Outcome]]:
    if num_processes <= 1:
        yield (execute(store, request, execution) for request in requests)
        return
    share = max(1, execution.num_processes // num_processes)
    quiet = dataclasses.replace(execution, on_metrics=None, num_processes=share)
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(max_workers=num_processes, mp_context=context) as pool:
        try:
            futures = [pool.submit(execute, store, request, quiet) for request in requests]
            yield (future.result() for future in futures)
        finally:
            pool.shutdown(cancel_futures=True)


def _measured(call: Call, launch: Launch) -> tuple[StageResult, Cost]:
    """Run it; wall time, CPU seconds of this process and its children, peak resident memory of the larger of them."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    result = launch(call)
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return result, Cost(
        wall_s=round(time.perf_counter() - wall, 3),
        cpu_s=round(_cpu_seconds() - cpu, 3),
        peak_rss_bytes=max(own.ru_maxrss, children.ru_maxrss) * 1024,
        tokens=result.tokens,
        flops=float(result.flops),
    )


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
