"""Training stages that are killed again and again or interrupted, and what they leave."""

import importlib
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

import ops.train.loop
from ops.data import TokenData
from ops.stage import Execution
from ops.train.run import run

EXECUTION = Execution(threads=1)


def contents(out: Path) -> dict[str, bytes]:
    """Every file but the one with measured times."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "speed.jsonl")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def work(stage: str, config, inputs, out: Path, die_at_rename: int | None = None) -> None:
    """Body of a child: a state after every step; dies at a given rename, without any clean-up."""
    torch.set_num_threads(1)
    ops.train.loop.SAVE_EVERY_S = 0.0
    replace, renames = os.replace, 0

    def counted(source, target):
        nonlocal renames
        if renames == die_at_rename:
            os._exit(9)
        renames += 1
        replace(source, target)

    os.replace = counted
    importlib.import_module(f"ops.{stage}.run").run(config, inputs, out, EXECUTION)


def children():
    """Processes that are forked from a clean one which has already imported torch."""
    context = multiprocessing.get_context("forkserver")
    # torch imports torch._dynamo sooner or later, which takes longer than the run.
    context.set_forkserver_preload(["torch._dynamo", "ops.train.run", "ops.distill.run", "tests.ops.training_kills"])
    return context


def kill_often(stage: str, config, inputs, out: Path, *, targets: tuple[int, ...], seed: int) -> int:
    """Run `stage` in children; kill each soon after the state of a target step appears; returns the kills."""
    rng, kills = random.Random(seed), 0
    for target in (*targets, None):
        child = children().Process(target=work, args=(stage, config, inputs, out))
        child.start()
        while target is not None and child.is_alive():
            steps = [int(path.name[5:]) for path in out.glob("state/step-*")]
            if target == 0 or max(steps, default=0) >= target:
                time.sleep(rng.random() * 0.03)
                child.kill()  # no error where it has just ended
                break
            time.sleep(0.001)
        child.join()
        assert child.exitcode == (0 if target is None else child.exitcode)
        kills += child.exitcode == -signal.SIGKILL
    return kills


def interrupt(config, inputs, out, monkeypatch, *, after: int) -> None:
    """Stop as Ctrl-C would, with a state after every step."""
    monkeypatch.setattr(ops.train.loop, "SAVE_EVERY_S", 0.0)
    batch = TokenData.batch

    def interrupted(self, **arguments):
        if arguments["phase"] == 1 and arguments["step"] == after:
            raise KeyboardInterrupt
        return batch(self, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TokenData, "batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config, inputs, out, EXECUTION)
