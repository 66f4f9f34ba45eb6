"""The chunked losses beside those of whole logits: time in one process, memory in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from kernels.linear_loss import linear_cross_entropy, linear_kl
from tests.benchmarks.timing import best_of, show

THREADS = int(os.environ.get("BENCH_THREADS", "2"))
VOCABULARY, TOKENS, WIDTH = 131_072, 256, 64


def _normal(*shape: int, seed: int = 0, grad: bool = True) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_(grad)


def _naive(loss: str, hidden: Tensor, weight: Tensor, other: tuple[Tensor, ...]) -> Tensor:
    if loss == "cross-entropy":
        return cross_entropy(hidden @ weight.T, other[0], reduction="sum")
    teacher = log_softmax(other[0] @ other[1].T, -1)
    return kl_div(log_softmax(hidden @ weight.T, -1), teacher, reduction="sum", log_target=True)


def _chunked(loss: str, hidden: Tensor, weight: Tensor, other: tuple[Tensor, ...]) -> Tensor:
    function = linear_cross_entropy if loss == "cross-entropy" else linear_kl
    return function(hidden, weight, *other)[0]


def _loss_inputs(loss: str) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    hidden, weight = _normal(TOKENS, WIDTH), _normal(VOCABULARY, WIDTH, seed=1)
    if loss == "cross-entropy":
        return hidden, weight, (torch.arange(TOKENS),)
    return hidden, weight, (_normal(TOKENS, WIDTH, seed=2, grad=False), _normal(VOCABULARY, WIDTH, seed=3, grad=False))


@pytest.mark.parametrize("loss", ["cross-entropy", "KL"])
def bench_losses(loss: str) -> None:
    """Time in this process; memory in processes of their own, where it is the growth of the peak over the inputs and
    the gradients, which both forms have."""
    torch.set_num_threads(THREADS)
    hidden, weight, other = _loss_inputs(loss)
    seconds = best_of(
        {
            name: lambda form=form: torch.autograd.grad(form(loss, hidden, weight, other), [hidden, weight])
            for name, form in (("chunked", _chunked), ("whole logits", _naive))
        },
        repeats=3,
    )
    show(f"linear {loss}, {TOKENS} tokens, vocabulary of {VOCABULARY:,}", seconds, TOKENS, "tokens")
    if not Path("/proc/self/clear_refs").exists():
        return
    memory = {}
    for form in ("_chunked", "_naive"):
        code = f"from tests.benchmarks.bench_losses import peak_growth; print(peak_growth({form!r}, {loss!r}))"
        memory[form] = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    ratio = memory["_naive"] / max(1, memory["_chunked"])
    megabytes = {form: size / 1e6 for form, size in memory.items()}
    print(
        f"  memory: {megabytes['_chunked']:.0f} MB, {megabytes['_naive']:.0f} MB with whole logits, {ratio:.1f} times"
    )


def peak_growth(form: str, loss: str) -> int:
    """Bytes by which the memory of this process grows at most, beyond a gradient of the weight, in a loss and its
    gradient."""
    hidden, weight, other = _loss_inputs(loss)
    few = hidden[:2], weight[:64], tuple(part[: 2 if len(part) == TOKENS else 64] for part in other)
    torch.autograd.grad(globals()[form](loss, *few), [hidden, weight])  # what is loaded at first use
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    torch.autograd.grad(globals()[form](loss, hidden, weight, other), [hidden, weight])
    return _status("VmHWM") - before - weight.nbytes


def _status(name: str) -> int:
    """A field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
