"""Weights after some of the steps, which stay in the result of a run.

`checkpoints/step-XXXXXXXX/` is a `nemotron_h` directory with its tokenizer: it loads, exports and evaluates like the
finished model. Which steps these are is part of a run's identity (`RunConfig.kept_steps`), unlike its states, which are
there to go on from and vanish when it is finished.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from model.checkpoint import save_checkpoint
from model.hybrid import HybridLM
from ops.train.state import drop, publish

FOLDER = "checkpoints"


def step_folder(out: Path, step: int) -> Path:
    """Where the weights after `step` updates lie."""
    return out / FOLDER / f"step-{step:08d}"


def found_steps(out: Path) -> list[int]:
    """The steps whose weights are there, ascending."""
    return sorted(int(path.name.removeprefix("step-")) for path in (out / FOLDER).glob("step-*"))


def keep_weights(model: HybridLM, out: Path, step: int, *, tokenizer_files: Iterable[Path], last: int | None) -> None:
    """Write the weights after `step` updates, whole or not at all; of all that are there, the newest `last` stay."""
    target = step_folder(out, step)
    partial = target.with_name(f".{target.name}.partial")
    partial.mkdir(parents=True)
    save_checkpoint(model, partial, tokenizer_files=tokenizer_files)
    publish(partial, target)
    for old in found_steps(out)[: -last if last else 0]:
        drop(step_folder(out, old))


def sweep_kept(out: Path, *, after: int) -> None:
    """Remove what a kill left half-written, and the weights of steps that a run which goes on after `after` updates
    will make again."""
    for leftover in (out / FOLDER).glob(".*"):
        shutil.rmtree(leftover)
    for step in found_steps(out):
        if step > after:
            drop(step_folder(out, step))
