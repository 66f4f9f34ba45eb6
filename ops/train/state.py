"""States of a run: whole or not at all, without pickle.

`state/step-XXXXXXXX/` holds `model.safetensors`, `optimizer.safetensors` and `state.json` after so many updates. Where
the network is sharded, each process writes its rows to files of its own (`model-00001-of-00002.safetensors`); any
number of processes, sharded or not, reads its own rows out of them again. torch's distributed checkpoints would do the
same, but their metadata are a pickle, which runs what a file says.

A state is written under a hidden name, synced, and renamed; a run that was killed goes on from the newest one.
Processes on several machines need a file system that all of them see.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ops.errors import InputError
from ops.train.distributed import ALONE, World
from ops.train.optimizer import AdamW
from ops.train.sharding import local, rows_of

FOLDER = "state"
KEPT = 2
FORMAT = 2
KINDS = ("model", "optimizer")


@dataclass(frozen=True, kw_only=True)
class State:
    """A state found on disk: updates done, files that each kind of tensor is in, and what the run noted with it."""

    path: Path
    step: int
    shards: int
    notes: dict[str, Any]


def save_state(
    out: Path,
    *,
    identity: str,
    model: nn.Module,
    optimizer: AdamW,
    notes: dict[str, Any],
    keep: int = KEPT,
    world: World = ALONE,
) -> None:
    """Write the state after the updates that `optimizer` has done; drop all but the newest `keep`. `notes` is JSON. All
    processes must call this where the network is sharded, else the one that writes."""
    step, shards = optimizer.step, world.shards
    folder = out / FOLDER
    target = folder / f"step-{step:08d}"
    partial = folder / f".{target.name}.partial"
    if world.writes:
        folder.mkdir(parents=True, exist_ok=True)
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
    if world.sharded:
        world.barrier()
    for kind, tensors in zip(KINDS, (_parameters(model), optimizer.tensors()), strict=True):
        held = {name: local(tensor) for name, tensor in tensors.items()}
        if kind == "model" and world.writes:
            held |= dict(model.named_buffers())
        path = partial / _file(kind, world.rank, shards)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in held.items()}, path)
        _sync(path)
    if world.sharded:
        world.barrier()
    if world.writes:
        found = {"format": FORMAT, "identity": identity, "step": step, "shards": shards, "notes": notes}
        (partial / "state.json").write_text(json.dumps(found, sort_keys=True) + "\n", encoding="utf-8")
        publish(partial, target)
        for old in _complete(folder)[:-keep]:
            drop(old)


def sweep_states(out: Path) -> None:
    """Remove states that a kill left half-written or half-deleted."""
    for leftover in (out / FOLDER).glob(".*"):
        shutil.rmtree(leftover)


def newest_state(out: Path, *, identity: str) -> State | None:
    """The newest state under `out`, or None.

    Raises:
        InputError: when the state is of another run or cannot be read (names the directory).
    """
    complete = _complete(out / FOLDER)
    if not complete:
        return None
    path = complete[-1]
    try:
        data = json.loads((path / "state.json").read_text(encoding="utf-8"))
        found = data["format"], data["identity"]
        state = State(path=path, step=data["step"], shards=data["shards"], notes=data["notes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: state.json cannot be read ({error}); delete the directory to start over") from error
    if found != (FORMAT, identity):
        raise InputError(f"{path}: is the state of a run with another configuration; use another output directory")
    return state


@torch.no_grad()
def restore(state: State, *, model: nn.Module, optimizer: AdamW, world: World = ALONE) -> None:
    """Put weights and moments back, every bit; each process reads its own rows, however many processes wrote them.

    Raises:
        InputError: when a file is missing, damaged or of another network (names it).
    """
    buffers = {name: tensor.detach() for name, tensor in model.named_buffers()}
    for kind, tensors in zip(KINDS, (_parameters(model), optimizer.tensors()), strict=True):
        for shard in range(state.shards):
            path = state.path / _file(kind, shard, state.shards)
            whole = buffers if kind == "model" and shard == 0 else {}
            try:
                _read_rows(path, tensors, whole, shard=shard, shards=state.shards, world=world)
            except (OSError, SafetensorError, ValueError) as error:
                message = f"{path}: cannot be restored ({error}); delete {state.path} to go on without it"
                raise InputError(message) from error
    optimizer.step = state.step


def _read_rows(
    path: Path, tensors: Mapping[str, Tensor], whole: Mapping[str, Tensor], *, shard: int, shards: int, world: World
) -> None:
    """Copy what one file holds of this process's rows of `tensors`, and all of the tensors of `whole`."""
    with safe_open(path, framework="pt") as handle:
        if differing := set(handle.keys()) ^ (tensors.keys() | whole.keys()):
            raise ValueError(f"its tensors are not those of the network: {sorted(differing)}")
        for name, tensor in (*tensors.items(), *whole.items()):
            part = handle.get_slice(name)
            shape, own = tuple(part.get_shape()), tuple(tensor.shape)
            there, here = range(tensor.shape[0]), range(tensor.shape[0])
            if name in tensors:
                there = rows_of(own[0], shard=shard, shards=shards)
                here = rows_of(own[0], shard=world.rank if world.sharded else 0, shards=world.shards)
            if shape != (len(there), *own[1:]):
                raise ValueError(f"{name} has shape {shape}, not {(len(there), *own[1:])}")
            start, stop = max(there.start, here.start), min(there.stop, here.stop)
            if start < stop:
                found = part[start - there.start : stop - there.start]
                local(tensor)[start - here.start : stop - here.start].copy_(found)


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    """A tied one once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def _file(kind: str, shard: int, shards: int) -> str:
    return f"{kind}.safetensors" if shards == 1 else f"{kind}-{shard + 1:05d}-of-{shards:05d}.safetensors"


def remove_states(out: Path) -> None:
    """Remove all states: the run is finished."""
    folder = out / FOLDER
    if folder.exists():
        shutil.rmtree(folder)


def _complete(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def publish(partial: Path, target: Path) -> None:
    """Bring a directory and its files to the disk, then give it its name."""
    for path in (*partial.iterdir(), partial):
        _sync(path)
    os.replace(partial, target)
    _sync(target.parent)


def drop(path: Path) -> None:
    """Delete a directory under a hidden name, so that a kill in between leaves none that looks complete."""
    hidden = path.with_name(f".{path.name}.dropped")
    os.replace(path, hidden)
    shutil.rmtree(hidden)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
