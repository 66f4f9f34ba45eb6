"""Products of float32 matrices and the feed-forward layer beside torch's, with their distance from float64."""

import os

import pytest
import torch
from torch import Tensor

from kernels.feed_forward import feed_forward
from kernels.matmul import matmul, usable
from tests.benchmarks.timing import best_of, show

THREADS = int(os.environ.get("BENCH_THREADS", "2"))
PRODUCTS = [
    # rows, columns, summed over; whether the factors have rows (N) or columns (T) in their memory
    (2048, 1024, 256, "NT"),
    (2048, 256, 1024, "NN"),
    (1024, 256, 2048, "TN"),
    (2048, 256, 256, "NT"),
    (2048, 4096, 4096, "NT"),
]
"""Forward pass, gradient of the input and of the weight in the hybrid of bench_kernels; and a large one."""


def _normal(rows: int, columns: int, memory: str, seed: int) -> Tensor:
    made = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    return made if memory == "N" else made.T.contiguous().T


@pytest.mark.parametrize("product", PRODUCTS)
def bench_product(product: tuple[int, int, int, str]) -> None:
    torch.set_num_threads(THREADS)
    if not usable(torch.device("cpu")):
        pytest.skip("no AMX here: products are torch's")
    m, n, k, memory = product
    left, right, out = _normal(m, k, memory[0], 0), _normal(k, n, memory[1], 1), torch.empty(m, n)
    contenders = {
        "stillhouse": lambda: matmul(left, right, out_MN=out),
        "torch": lambda: torch.mm(left, right, out=out),
    }
    seconds = best_of(contenders, repeats=20)
    show(f"({m} x {k}) ({k} x {n}), memory {memory}", seconds, m, "rows")
    exact = left.double() @ right.double()
    for name, call in contenders.items():
        distance = float((call().double() - exact).norm() / exact.norm())
        print(f"  {name}: {2 * m * n * k / seconds[name] / 1e9:.0f} GFLOP/s, {distance:.1e} of the norm from float64")


def bench_feed_forward() -> None:
    """Forward and backward at 2048 tokens, width 256, inner width 1024."""
    torch.set_num_threads(THREADS)
    x, up, down = (_normal(*shape, "N", 0).requires_grad_() for shape in ((2048, 256), (1024, 256), (256, 1024)))
    grad = _normal(2048, 256, "N", 1)

    def theirs() -> Tensor:
        return torch.relu(x @ up.T).square() @ down.T

    contenders = {
        "stillhouse": lambda: torch.autograd.grad(feed_forward(x, up, down), [x, up, down], grad),
        "torch": lambda: torch.autograd.grad(theirs(), [x, up, down], grad),
    }
    show("feed-forward layer, forward and backward", best_of(contenders), 2048, "tokens")
