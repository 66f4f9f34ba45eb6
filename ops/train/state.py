"""States of a run: whole or not at all, without pickle.

`state/step-XXXXXXXX/` holds what a run needs to go on after so many updates: `model.safetensors`, its two moments in
`exp_avg.safetensors` and `exp_avg_sq.safetensors`, and `state.json`. Where the network is sharded each process writes
its rows to three files of its own (see ops.train.shares). Any number of processes, sharded or not, reads either kind.

A state is written under a hidden name, synced, and renamed; a run that was killed goes on from the newest one.
Processes on several machines need a file system that all of them see.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ops.errors import InputError
from ops.identity import fingerprint
from ops.train.distributed import ALONE, World
from ops.train.optimizer import MOMENTS, AdamW

FOLDER = "state"
KEPT = 2
FORMAT = 3


@dataclass(frozen=True, kw_only=True)
class State:
    """A state found on disk: updates done, how many processes its rows lie with, the fingerprint of the header of each
    of its files of tensors, and what the run noted with it."""

    path: Path
    step: int
    shards: int
    files: dict[str, str]
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
    folder = out / FOLDER
    target = folder / f"step-{optimizer.step:08d}"
    partial = folder / f".{target.name}.partial"
    if world.writes:
        folder.mkdir(parents=True, exist_ok=True)
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
    groups = _groups(model, optimizer)
    if world.sharded:
        from ops.train.shares import write_shares  # takes seconds

        world.barrier()
        write_shares(partial, list(groups.values()))
    else:
        for name, group in groups.items():
            save_file({key: t.cpu().contiguous() for key, t in group.items()}, partial / f"{name}.safetensors")
    if world.writes:
        found = {
            "format": FORMAT,
            "identity": identity,
            "step": optimizer.step,
            "shards": world.shards,
            "files": {path.name: fingerprint(_header(path)) for path in partial.iterdir()},
            "notes": notes,
        }
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
        if (data["format"], data["identity"]) == (FORMAT, identity):
            fields = {name: data[name] for name in ("step", "shards", "notes")}
            return State(path=path, files=dict(data["files"]), **fields)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: state.json cannot be read ({error}); delete the directory to start over") from error
    raise InputError(
        f"{path}: is the state of a run with another configuration, or of another version; use another output directory"
    )


@torch.no_grad()
def restore(state: State, *, model: nn.Module, optimizer: AdamW, world: World = ALONE) -> None:
    """Put weights and moments back, every bit; each process reads its own rows, however many processes wrote them.

    Raises:
        InputError: when a file is missing, damaged, not the one that was written (names it), or of another network.
    """
    tensors = {name: tensor for group in _groups(model, optimizer).values() for name, tensor in group.items()}
    names: set[str] = set()
    for path in sorted({state.path / name for name in state.files} | set(state.path.glob("*.safetensors"))):
        try:
            header = _header(path)
            if fingerprint(header) != state.files.get(path.name):
                raise ValueError("it is not the file that was written")
        except (OSError, SafetensorError, ValueError) as error:
            message = f"{path}: cannot be restored ({error}); delete {state.path} to go on without it"
            raise InputError(message) from error
        names.update(header["tensors"])
    try:
        if names != tensors.keys():
            raise ValueError(f"its tensors are not those of the network: {sorted(names ^ tensors.keys())}")
        if world.sharded or state.shards > 1:
            from ops.train.shares import read_shares  # takes seconds

            read_shares(state.path, tensors, world)
        else:
            for name in state.files:
                _read(state.path / name, tensors)
    except ValueError as error:
        raise InputError(f"{state.path}: cannot be restored ({error}); delete it to go on without it") from error
    optimizer.step = state.step


def _read(path: Path, tensors: dict[str, Tensor]) -> None:
    with safe_open(path, framework="pt") as handle:
        for name in handle.keys():  # noqa: SIM118
            found = handle.get_tensor(name)
            if found.shape != tensors[name].shape:
                raise ValueError(f"{name} has shape {tuple(found.shape)}, not {tuple(tensors[name].shape)}")
            tensors[name].copy_(found)


def _header(path: Path) -> dict[str, Any]:
    """All that a file says about its tensors."""
    with safe_open(path, framework="pt") as handle:
        parts = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
        shapes = {name: [part.get_dtype(), *part.get_shape()] for name, part in parts.items()}
        return {"tensors": shapes, "metadata": handle.metadata() or {}}


def _groups(model: nn.Module, optimizer: AdamW) -> dict[str, dict[str, Tensor]]:
    """What a state is made of, in the groups that lie in a file each. A tied parameter is there once."""
    named = (*model.named_parameters(), *model.named_buffers())
    groups = {"model": {name: tensor.detach() for name, tensor in named}}
    for moment in MOMENTS:
        groups[moment] = {n: t for n, t in optimizer.tensors().items() if n.startswith(f"{moment}.")}
    return groups


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
