"""A process of the tests under torchrun: `python -m torch.distributed.run ... -m tests.ops.sharded_worker FOLDER`.

Does what `calls.json` in the folder says, one stage after the other: package, config class, config, inputs, output, the
kind of parallelism, whether layers are compiled, at which step it is interrupted, if it is, and before which of its
files of a state process 1 dies by SIGKILL, if it does.
"""

import dataclasses
import faulthandler
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import ops.train.compiled
import ops.train.loop
from ops.atomic import read_json
from ops.data import TokenData
from ops.identity import decode
from ops.stage import Execution


def interrupt_at(step: int | None) -> None:
    """Have the data end with an error at this step of the first phase."""
    whole = TokenData.batch

    def batch(self: TokenData, **arguments: Any) -> Any:
        if arguments["phase"] == 1 and arguments["step"] == step:
            raise KeyboardInterrupt
        return whole(self, **arguments)

    TokenData.batch = batch  # type: ignore[method-assign]


def die_before(file: int) -> None:
    """Have process 1 end without a word where it would write this file of a state, counted from 0."""
    save, count = safetensors.torch.save, 0

    def counting(*arguments: Any, **named: Any) -> bytes:
        nonlocal count
        if count == file and torch.distributed.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return save(*arguments, **named)

    safetensors.torch.save = counting


def perform(call: dict[str, Any]) -> None:
    whole = TokenData.batch
    module, _, name = call["config_class"].partition(":")
    config = decode(getattr(importlib.import_module(module), name), call["config"])
    inputs = {name: [Path(path) for path in paths] for name, paths in call["inputs"].items()}
    Path(call["out"]).mkdir(parents=True, exist_ok=True)
    compile = call.get("compile", False)
    execution = dataclasses.replace(Execution(threads=1), parallel=call["parallel"], compile=compile)
    interrupt_at(call["interrupt"])
    if "die_before" in call:
        die_before(call["die_before"])
    try:
        importlib.import_module(f"{call['package']}.run").run(config, inputs, Path(call["out"]), execution)
    except KeyboardInterrupt:
        assert call["interrupt"] is not None
    finally:
        TokenData.batch = whole  # type: ignore[method-assign]


if __name__ == "__main__":
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(150, exit=True)  # a hang shows where
    ops.train.loop.SAVE_EVERY_S = 0.0
    ops.train.compiled.BACKEND = "aot_eager"  # inductor without its compiler, which takes minutes
    # One group for all stages: torch does not promise that a process can form a second one.
    torch.distributed.init_process_group("gloo")
    leave = torch.distributed.destroy_process_group
    torch.distributed.init_process_group = lambda *_, **__: None
    torch.distributed.destroy_process_group = lambda *_: None
    for one in read_json(Path(sys.argv[1]) / "calls.json"):
        perform(one)
    torch.distributed.barrier()
    leave()
