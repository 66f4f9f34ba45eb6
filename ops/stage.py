"""The contract of a stage: what it is given and what it must report.

A stage is a function `run(config, inputs, out, execution) -> StageResult`:

- `config`: a frozen dataclass, the stage's identity. Whatever changes the result is in it.
- `inputs`: directories of the parent artefacts, by name; several when a parent is partitioned (sorted by partition).
- `out`: a local directory. It may hold the partial work of a killed attempt of the same identity, from which the
  stage goes on; the finished bytes must not depend on whether that happened.
- `execution`: what does not change the result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ops.errors import InputError

Parallel = Literal["ddp", "fsdp"]
Inputs = Mapping[str, Sequence[Path]]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a stage runs. Nothing here may change a byte of the result on CPU."""

    device: str = "cpu"
    num_processes: int = 1
    threads: int = 2
    source: str | None = None
    """Where what the stage reads from outside the store lies: a folder of WARC files, an `s3://` or `https://` prefix,
    a checkpoint directory. What lies there is identity (see `Observe`), where it lies is not."""

    endpoint_url: str | None = None
    """S3 endpoint for sources that are read over S3 (None: the default of the credentials)."""

    store: str | None = None
    """URL of the store, for a stage that keeps artefacts of its own there (None: the one that the environment names).
    A stage that makes an artefact of a store has that store."""

    parallel: Parallel = "ddp"
    """How the processes of a training run under torchrun share it: each holds the whole model, or its rows of it."""

    compile: bool = False
    """Whether a training run compiles the layers of its network with torch.compile. Like the choice of kernels
    (see kernels.dispatch) it rounds differently: a state says which it was, and is resumed as it was made."""

    keep_states: int = 2
    """States of a training run that are kept to go on from, the newest ones."""

    watch: tuple[str, ...] = ()
    """Who is shown the numbers of a training run: `tensorboard`, `wandb`."""

    reference: str | None = None
    """The directory or `metrics.jsonl` of an earlier training run: a warning says when the loss leaves its curve."""

    on_metrics: Callable[[Mapping[str, Any]], None] | None = None
    """Called now and then by long stages with a row of metrics (step, loss, tokens_per_second, ...)."""


Observe = Callable[[Any, Execution], Any]
"""`observe(config, execution) -> JSON`: a cheap look at what the stage reads from outside the store (package versions,
file names and sizes). It becomes part of the artefact's fingerprint. Stages that read only their inputs have none."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One statement about a result that held or did not."""

    name: str
    passed: bool
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    blocking: bool = True
    """A failed blocking check rejects the artefact: it is kept, and feeds no child."""


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a stage reports beside its files."""

    counts: Mapping[str, int]
    """What came out, in the units of the stage (documents, tokens, parameters). Data stages set `in` and `out`."""

    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reason -> how many inputs were dropped for it. For data stages counts["in"] == counts["out"] + their sum."""

    checks: Sequence[Check] = ()
    tokens: int = 0
    """Training or evaluation tokens processed (cost ledger)."""

    flops: float = 0.0
    """Floating-point operations by structural count (cost ledger)."""

    volatile: Sequence[str] = ()
    """Files in `out`, relative, that hold measured times and so are left out of the content digest."""

    parents: Sequence[Mapping[str, Any]] = ()
    """Artefacts of the store that the stage took or made beside its inputs: asset, partition, version, digest."""

    summary: Mapping[str, Any] = field(default_factory=dict)
    """JSON for people: samples, curve points, tables. Deterministic, no times."""


def one(inputs: Inputs, name: str) -> Path:
    """The only directory of input `name`.

    Raises:
        InputError: when the input is absent or has more than one directory.
    """
    paths = inputs.get(name, ())
    if len(paths) != 1:
        raise InputError(f"input {name!r}: expected one directory, got {len(paths)}")
    return Path(paths[0])


def many(inputs: Inputs, name: str) -> list[Path]:
    """All directories of input `name`, at least one.

    Raises:
        InputError: when there is none.
    """
    paths = inputs.get(name, ())
    if not paths:
        raise InputError(f"input {name!r}: expected at least one directory, got none")
    return [Path(path) for path in paths]


def sum_rows(tables: Sequence[Sequence[Mapping[str, Any]]], label: str) -> list[dict[str, Any]]:
    """Tables of counts as one: rows with the same text under `label` become one row of sums."""
    rows: dict[Any, dict[str, Any]] = {}
    for row in (row for table in tables for row in table):
        columns = [column for column in row if column != label]
        total = rows.setdefault(row[label], {label: row[label], **dict.fromkeys(columns, 0)})
        for column in columns:
            total[column] += row[column]
    return [rows[key] for key in sorted(rows)]


def reconcile(counts: Mapping[str, int], dropped: Mapping[str, int]) -> Check:
    """The check that nothing vanished: in = out + dropped."""
    lost = counts["in"] - counts["out"] - sum(dropped.values())
    return Check(
        name="nothing_vanishes",
        passed=lost == 0,
        description="documents in = documents out + documents dropped for a reason",
        metadata={"in": counts["in"], "out": counts["out"], "dropped": dict(dropped), "unaccounted": lost},
    )
