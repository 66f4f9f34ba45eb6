"""torch.compile of the residual layers while a run trains. Execution: the same numbers but for rounding.

Triton kernels run as they are between compiled parts, and so do experts, whose shapes change with every batch. The C++
kernels are not seen while it traces: on a CPU their torch forms are compiled in their place.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from kernels.cpp import COMPILERS
from model.hybrid import HybridLM
from model.moe import Experts
from ops.errors import InputError
from ops.train.state import State

BACKEND = "inductor"
SHAPES = 8
"""Of batches that a layer may meet, with and without gradients."""


@contextmanager
def compiled_layers(networks: Sequence[HybridLM]) -> Iterator[None]:
    """The forward pass of every layer compiled, for each shape by itself: which kernel runs must not depend on what was
    seen before. Hooks of a layer (those of sharding, those that keep its output) run around it as they are."""
    import torch._dynamo  # takes seconds

    layers = [layer for network in networks for layer in _layers(network)]
    most = SHAPES * len(layers)
    limits = torch._dynamo.config.patch(
        recompile_limit=most,
        accumulated_recompile_limit=most,
        fail_on_recompile_limit_hit=True,
        optimize_ddp=False,  # a layer is not cut where a bucket of gradients ends
    )
    experts = [module for layer in layers for module in layer.modules() if isinstance(module, Experts)]
    with limits:
        for module in experts:
            _replace(module, torch.compiler.disable(module.forward))
        for layer in layers:
            _replace(layer, _limited(torch.compile(layer.forward, backend=BACKEND, dynamic=False), limits))
        try:
            yield
        finally:
            for module in (*experts, *layers):
                del module.forward
            torch._dynamo.reset()  # the limits are for one run


def _layers(network: HybridLM) -> list[nn.Module]:
    return [*network.backbone.layers, *(network.mtp.layers if network.mtp is not None else ())]


def _replace(module: nn.Module, forward: Any) -> None:
    module.forward = forward


def _limited(forward: Callable[..., Tensor], limits: AbstractContextManager[Any]) -> Callable[..., Tensor]:
    """Settings of torch.compile are those of a thread, and a backward pass on CUDA, which makes inner values again, has
    one of its own."""
    owner = get_ident()

    def call(*arguments: Any, **named: Any) -> Tensor:
        with nullcontext() if get_ident() == owner else limits:
            return forward(*arguments, **named)

    return call


def check_same(state: State, compiled: bool) -> None:
    """Raise InputError for a state that the other kind of layers has made: it would be gone on with in other bits."""
    if state.notes.get("compiled", False) != compiled:
        made = "without" if compiled else "with"
        raise InputError(f"{state.path}: was made {made} compiled layers; go on with it in the same way")


def check_compiler(device: torch.device) -> None:
    """Raise InputError where torch.compile has no compiler."""
    if BACKEND != "inductor":
        return
    if device.type == "cuda":
        missing = None if find_spec("triton") is not None else "triton is not installed"
    else:
        names = [os.environ["CXX"]] if os.environ.get("CXX") else list(COMPILERS)
        missing = None if any(map(shutil.which, names)) else f"no C++ compiler ({', '.join(names)})"
    if missing is not None:
        raise InputError(f"compile: torch.compile cannot work here: {missing}; leave it out")
