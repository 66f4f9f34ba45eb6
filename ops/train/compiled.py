"""torch.compile of the residual layers while a run trains. Execution: the same numbers but for rounding.

Triton kernels run as they are between compiled parts, and so do experts, whose shapes change with every batch. The C++
kernels are not seen while it traces: on a CPU their torch forms are compiled in their place.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from kernels.cpp import COMPILERS
from model.hybrid import HybridLM
from model.moe import Experts
from ops.errors import InputError
from ops.train.state import State

BACKEND = "inductor"
SHAPES = 8
"""Of batches that a layer may meet, with and without gradients."""


@contextmanager
def compiled_layers(model: HybridLM, device: torch.device) -> Iterator[None]:
    """Every layer compiled, for each shape by itself: which kernel runs must not depend on what was seen before.

    Raises:
        InputError: where torch.compile has no compiler.
    """
    _check(device)
    import torch._dynamo  # takes seconds

    layers = [*model.backbone.layers, *(model.mtp.layers if model.mtp is not None else ())]
    with torch._dynamo.config.patch(recompile_limit=SHAPES * len(layers), fail_on_recompile_limit_hit=True):
        experts = [module for layer in layers for module in layer.modules() if isinstance(module, Experts)]
        for module in experts:
            whole: Any = torch.compiler.disable(module.forward)
            module.forward = whole
        for layer in layers:
            layer.compile(backend=BACKEND, dynamic=False)
        try:
            yield
        finally:
            for module in experts:
                del module.forward
            for layer in layers:
                _forget(layer)


def check_same(state: State, compiled: bool) -> None:
    """Raise InputError for a state that the other kind of layers has made: it would be gone on with in other bits."""
    if state.notes.get("compiled", False) != compiled:
        made = "without" if compiled else "with"
        raise InputError(f"{state.path}: was made {made} compiled layers; go on with it in the same way")


def _check(device: torch.device) -> None:
    if BACKEND != "inductor":
        return
    if device.type == "cuda":
        missing = None if find_spec("triton") is not None else "triton is not installed"
    else:
        names = [os.environ["CXX"]] if os.environ.get("CXX") else list(COMPILERS)
        missing = None if any(map(shutil.which, names)) else f"no C++ compiler ({', '.join(names)})"
    if missing is not None:
        raise InputError(f"compile: torch.compile cannot work here: {missing}; leave it out")


def _forget(layer: nn.Module) -> None:
    """Undo `Module.compile`, for which torch has no call: samples are made with sequences of every length."""
    layer._compiled_call_impl = None
