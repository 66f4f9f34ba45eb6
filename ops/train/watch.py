"""Watchers of a run beside its own records: TensorBoard, Weights & Biases. Execution: they change nothing.

Neither is a dependency of the project: the extra `watch` brings both.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ops.errors import InputError

WATCHERS = ("tensorboard", "wandb")
TENSORBOARD, WANDB = ".tensorboard", ".wandb"
"""Folders beside the output of a run, which is left alone: it is hashed when it is finished."""

Write = Callable[[int, Mapping[str, float]], None]


def open_watchers(names: tuple[str, ...], out: Path, config: Mapping[str, Any]) -> list[Write]:
    """What is to be called with the step and its numbers.

    Raises:
        InputError: for an unknown watcher, or one that is not installed.
    """
    opened = []
    for name in names:
        if name not in WATCHERS:
            raise InputError(f"watch: {name!r} is not one of {list(WATCHERS)}")
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"watch: {name} is not installed; install it (pip install 'stillhouse[watch]') or leave it out"
            )
        opened.append({"tensorboard": _tensorboard, "wandb": _wandb}[name](out, config))
    return opened


def _tensorboard(out: Path, config: Mapping[str, Any]) -> Write:
    writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(out.with_name(out.name + TENSORBOARD))

    def write(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write


def _wandb(out: Path, config: Mapping[str, Any]) -> Write:
    """Offline unless WANDB_MODE says otherwise: `wandb sync` sends it later. Ends the run that this process had before,
    to which a second one would be added otherwise."""
    folder = out.with_name(out.name + WANDB)
    folder.mkdir(parents=True, exist_ok=True)
    mode = os.environ.get("WANDB_MODE", "offline")
    run = importlib.import_module("wandb").init(
        project="stillhouse", dir=str(folder), config=dict(config), mode=mode, reinit="finish_previous"
    )

    def write(step: int, values: Mapping[str, float]) -> None:
        run.log(dict(values), step=step)

    return write


def numbers(row: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a row of metrics by path, `validation/sources/example.org/bits_per_byte`."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            found[prefix + name] = float(value)
    return found
