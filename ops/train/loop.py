"""The training loop: a step is a pure function of weights, moments and the number of the step.

Nothing else is carried from one step to the next, neither a data loader's position nor a random state. A run that is
killed and started again goes through the same numbers, bit for bit on CPU with the same number of threads.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from model.hybrid import HybridLM
from model.moe import counting
from ops.data import Batch
from ops.data.batch import IGNORED
from ops.errors import InputError, StillhouseError
from ops.train.balance import balance
from ops.train.compiled import check_same, compiled_layers
from ops.train.config import RunConfig
from ops.train.distributed import World
from ops.train.kept import keep_weights, sweep_kept
from ops.train.metrics import METRICS, SPEED, MetricsLog
from ops.train.objective import Objective
from ops.train.optimizer import AdamW
from ops.train.peak import peak_flops
from ops.train.reference import Divergence
from ops.train.schedule import learning_rate
from ops.train.sharding import gathered, reshard, shard
from ops.train.spikes import SpikeDetector
from ops.train.state import KEPT, newest_state, restore, save_state, sweep_states
from ops.train.watch import Write, numbers

SAVE_EVERY_S = 30.0
"""Seconds between two states. It decides how much a kill costs, not what comes out."""

REPORT_EVERY_S = 2.0
NAMED_DOCUMENTS = 100

Track = Callable[[range], Iterator[int]]


class NonFiniteError(StillhouseError):
    """A loss or gradient that is not a number; nothing was updated with it."""


@dataclass(kw_only=True)
class Run:
    """Everything a run consists of."""

    config: RunConfig
    identity: str
    """Fingerprint of what the result depends on: a state of another identity is refused."""

    objective: Objective
    batches: Callable[[int], Batch]
    """This process's part of the batch of a step."""

    validate: Callable[[HybridLM], dict[str, Any]]
    out: Path
    world: World
    tokenizer_files: Sequence[Path] = ()
    """Go with every checkpoint that is kept on the way."""

    compiled: bool = False
    """Whether the layers are compiled."""

    keep_states: int = KEPT
    """States that are kept to go on from."""

    flops_per_token: float = 0.0
    """Of a step, by structural count."""

    watchers: Sequence[Write] = ()
    divergence: Divergence | None = None
    """Compares the loss with that of an earlier run."""

    on_metrics: Callable[[Mapping[str, Any]], None] | None = None
    track: Track = iter
    """Wraps the steps that are left, to show progress."""

    def precision(self) -> torch.autocast:
        """Where matrix products have the precision of the config."""
        half = self.config.precision == "bfloat16"
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16, enabled=half)


@contextmanager
def deterministic(*, threads: int, device: str) -> Iterator[None]:
    """Deterministic algorithms and this number of threads, until the end of the context."""
    if torch.device(device).type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms, without importing torch._dynamo
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])


def fit(run: Run) -> None:
    """Train to the last step, from the newest state in `run.out` if there is one.

    Leaves the trained weights in `run.objective.model`, `metrics.jsonl`, `speed.jsonl` and the last state.

    Raises:
        InputError: for a state that cannot be used, or one that was made with other kernels (compiled or not).
        NonFiniteError: when loss or gradient is not finite, before the update; names step and documents.
    """
    with compiled_layers(run.objective.networks()) if run.compiled else nullcontext():
        _fit(run)


def _fit(run: Run) -> None:
    config, world, model = run.config, run.world, run.objective.model
    if world.sharded:
        shard(run.objective, world)
    optimizer = AdamW(model, config.optimizer)
    if world.writes:
        sweep_states(run.out)
    world.barrier()
    state = newest_state(run.out, identity=run.identity)
    world.barrier()  # nobody writes before everybody has looked
    first = 0
    if state is not None:
        check_same(state, run.compiled)
        restore(state, model=model, optimizer=optimizer, world=world)
        first = state.step
    if world.writes:
        sweep_kept(run.out, after=first)
    log = MetricsLog(run.out / METRICS, size=state.notes["metrics_bytes"] if state else 0) if world.writes else None
    model.backbone.activation_checkpointing = config.activation_checkpointing
    objective: nn.Module = run.objective
    if world.size > 1 and not world.sharded:
        objective = DistributedDataParallel(run.objective, broadcast_buffers=False)
    meter = _Meter(run, first)
    detector = SpikeDetector(state.notes["recent_losses"] if state else ())

    def validated(step: int) -> None:
        started = time.perf_counter()
        with run.precision():
            measured = run.objective.measured(run.validate)
        reshard(run.objective)
        if not math.isfinite(measured["loss"]):
            raise NonFiniteError(f"after step {step}: the validation loss is {measured['loss']}")
        row = {"step": step, "tokens": step * config.tokens_per_step, "validation": measured}
        if log is not None:
            log.append(row)
        _show(run, row)
        meter.pause(time.perf_counter() - started)

    if first == 0:
        validated(0)
    saved_at = time.perf_counter()
    try:
        for step in run.track(range(first, config.num_steps)):
            row = _update(run, objective, optimizer, step)
            done, last = step + 1, step + 1 == config.num_steps
            if log is not None and (done % config.log_every_steps == 0 or last):
                log.append(row)
                _compare(run, row)
            if (z := detector.judge(row["loss"])) is not None:
                names = world.together(_documents(run.batches(step)))
                spike = {"loss": row["loss"], "z": round(z, 3), "documents": names}
                if log is not None:
                    log.append({"step": done, "tokens": row["tokens"], "spike": spike})
            meter.count(row, last=last)
            if done % config.validate_every_steps == 0 or last:
                validated(done)
            if config.keep_every_steps and done % config.keep_every_steps == 0 and not last:
                whole = gathered(model, world)
                if world.writes and whole is not None:
                    files = run.tokenizer_files
                    keep_weights(whole, run.out, done, tokenizer_files=files, last=config.keep_last)
            due = last or time.perf_counter() - saved_at >= SAVE_EVERY_S
            if world.sharded:
                due = world.decided(due)
            if due and (log is not None or world.sharded):
                notes: dict[str, Any] = {}
                if log is not None:
                    size, recent = log.sync(), detector.recent
                    notes = {"metrics_bytes": size, "recent_losses": recent, "compiled": run.compiled}
                save_state(
                    run.out,
                    identity=run.identity,
                    model=model,
                    optimizer=optimizer,
                    notes=notes,
                    keep=run.keep_states,
                    world=world,
                )
                saved_at = time.perf_counter()
    finally:
        if log is not None:
            log.close()


def _update(run: Run, objective: nn.Module, optimizer: AdamW, step: int) -> dict[str, Any]:
    """One update; returns its row of metrics.

    The gradient is that of the mean over all labelled tokens of the global batch, however they are distributed over
    processes and micro-batches.
    """
    config, world, device = run.config, run.world, run.world.device
    batch = run.batches(step)
    rows = len(batch.input_ids)
    size = config.micro_batch_size or rows
    count = torch.tensor(float(np.count_nonzero(batch.labels != IGNORED)), dtype=torch.float64, device=device)
    labelled = float(world.sum(count))
    if labelled == 0:
        raise InputError(f"step {step}: the batch has no token to predict")
    optimizer.clear_gradients()
    loss = torch.zeros((), dtype=torch.float64, device=device)
    with counting(run.objective.model) as counts:
        for start in range(0, rows, size):
            part = slice(start, start + size)
            input_ids, labels, seq_idx = (
                torch.from_numpy(array[part]).to(device) for array in (batch.input_ids, batch.labels, batch.seq_idx)
            )
            of_part = {name: torch.from_numpy(array[part]).to(device) for name, array in batch.more.items()}
            more = start + size < rows and isinstance(objective, DistributedDataParallel)
            with objective.no_sync() if more else nullcontext():  # type: ignore[union-attr]
                with run.precision():
                    total, reported = objective(input_ids, labels, seq_idx, **of_part)
                # Gradients are averaged over processes, hence the factor.
                (total * (world.size / labelled)).backward()
            loss += reported.double()
    mean_loss, grad_norm = float(world.sum(loss)) / labelled, optimizer.clip(world)
    if not (math.isfinite(mean_loss) and math.isfinite(grad_norm)):
        raise NonFiniteError(
            f"step {step}: the loss is {mean_loss}, the gradient norm {grad_norm}; nothing was updated. "
            f"Documents of the batch: {_named(batch)}"
        )
    lr = learning_rate(config.optimizer, config.schedule, step=step, num_steps=config.num_steps)
    optimizer.update(lr)
    shares = balance(run.objective.model, counts, rate=config.router_bias_rate, world=world)
    tokens = (step + 1) * config.tokens_per_step
    return {"step": step + 1, "tokens": tokens, "loss": mean_loss, "lr": lr, "grad_norm": grad_norm, **shares}


def _show(run: Run, row: Mapping[str, Any]) -> None:
    for write in run.watchers:
        write(row["step"], numbers(row))


def _compare(run: Run, row: Mapping[str, Any]) -> None:
    """Show a logged row to whoever watches, and say when it leaves the reference."""
    excess = None
    if run.divergence is not None:
        excess = run.divergence.judge(row["step"], row["tokens"], row["loss"])
    _show(run, row if excess is None else {**row, "above_reference": excess})


def _documents(batch: Batch) -> list[str]:
    return list(dict.fromkeys(name for row in batch.doc_ids for name in row))


def _named(batch: Batch) -> str:
    names = _documents(batch)
    more = f" and {len(names) - NAMED_DOCUMENTS} more" if len(names) > NAMED_DOCUMENTS else ""
    return ", ".join(names[:NAMED_DOCUMENTS]) + more


class _Meter:
    """Tokens per second, in `speed.jsonl` and to whoever watches. Validation is not counted."""

    def __init__(self, run: Run, first: int) -> None:
        self.run = run
        self.step = first
        self.since = time.perf_counter()
        self.peak = peak_flops(run.world.device, run.config.precision)
        if run.world.writes:
            path = run.out / SPEED
            path.touch()
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)  # a kill may have cut its last row

    def pause(self, seconds: float) -> None:
        self.since += seconds

    def count(self, row: dict[str, Any], *, last: bool) -> None:
        seconds = time.perf_counter() - self.since
        if not self.run.world.writes or (seconds < REPORT_EVERY_S and not last):
            return
        tokens = (row["step"] - self.step) * self.run.config.tokens_per_step
        speed = {"step": row["step"], "tokens_per_second": round(tokens / seconds, 1), "seconds": round(seconds, 3)}
        achieved = self.run.flops_per_token * tokens / seconds / self.run.world.size
        if achieved:
            speed["gflops_per_second"] = round(achieved / 1e9, 3)  # of one process
            speed |= {"mfu": round(achieved / self.peak, 4)} if self.peak else {}
        with (self.run.out / SPEED).open("ab") as stream:
            stream.write((json.dumps(speed) + "\n").encode())
        if self.run.on_metrics is not None:
            self.run.on_metrics({**row, **{name: value for name, value in speed.items() if name != "seconds"}})
        _show(self.run, speed)
        self.step, self.since = row["step"], time.perf_counter()
