"""States of a run: whole or not at all, without pickle.

`state/step-XXXXXXXX/` holds `model.safetensors`, `optimizer.safetensors` and `state.json` after so many updates.
A state is written under a hidden name, synced, and renamed; a run that was killed goes on from the newest one.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ops.errors import InputError
from ops.train.optimizer import AdamW

FOLDER = "state"
KEPT = 2
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class State:
    """A state found on disk: updates done, and what the run noted with it."""

    path: Path
    step: int
    notes: dict[str, Any]


def save_state(
    out: Path,
    *,
    identity: str,
    model: nn.Module,
    optimizer: AdamW,
    notes: dict[str, Any],
    keep: int = KEPT,
) -> None:
    """Write the state after the updates that `optimizer` has done; drop all but the newest `keep`. `notes` is JSON."""
    step = optimizer.step
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:08d}"
    partial = folder / f".{target.name}.partial"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    save_file({name: tensor.cpu() for name, tensor in _tensors(model).items()}, partial / "model.safetensors")
    moments = {name: tensor.cpu() for name, tensor in optimizer.tensors().items()}
    save_file(moments, partial / "optimizer.safetensors")
    text = json.dumps({"format": FORMAT, "identity": identity, "step": step, "notes": notes}, sort_keys=True)
    (partial / "state.json").write_text(text + "\n", encoding="utf-8")
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
        state = State(path=path, step=data["step"], notes=data["notes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: state.json cannot be read ({error}); delete the directory to start over") from error
    if found != (FORMAT, identity):
        raise InputError(f"{path}: is the state of a run with another configuration; use another output directory")
    return state


def restore(state: State, *, model: nn.Module, optimizer: AdamW) -> None:
    """Put weights and moments back, every bit.

    Raises:
        InputError: when a file is missing, damaged or of another network (names it).
    """
    path = state.path / "model.safetensors"
    try:
        own = _tensors(model)
        tensors = load_file(path)
        if tensors.keys() != own.keys():
            raise ValueError(f"its tensors are not those of the network: {sorted(tensors.keys() ^ own.keys())}")
        for name, tensor in own.items():
            if tensors[name].shape != tensor.shape:
                raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}")
            tensor.copy_(tensors[name])
        path = state.path / "optimizer.safetensors"
        optimizer.restore(load_file(path), step=state.step)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: cannot be restored ({error}); delete {state.path} to go on without it") from error


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers (the routers' biases), a tied one once."""
    return {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


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
