"""The scan and a training step on one GPU, bf16; about five minutes, most of them for compiling and choosing options.

    python -m tests.benchmarks.bench_gpu          (or `make bench`, which skips this file where there is no CUDA)

| variable | meaning | default |
|---|---|---|
| BENCH_BATCH | rows of a training step | 4 |
| BENCH_LENGTH | tokens of a row | 4096 |
| BENCH_PEAK | dense bf16 FLOP/s of the device, where its name is not in the table below | |
"""

import datetime
import os
from collections.abc import Callable, Mapping
from statistics import median

import pytest
import torch
from torch.nn.functional import softplus

from kernels.ssd import SSD, ssd
from model.config import HybridConfig, width_scaled_std
from model.hybrid import HybridLM
from ops.train.objective import CrossEntropy
from tests.benchmarks.timing import show

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

SCANS = [(8, 2048, 64, 64, 8, 128), (1, 16384, 64, 64, 8, 128), (8, 4096, 48, 64, 1, 128)]
"""(batch, length, heads, head_dim, groups, state); chunks of 128 here, of 256 in mamba-ssm, where it is fastest."""

PEAKS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bf16 FLOP/s by data sheet; the first name that is part of the device's counts."""

HYBRID = HybridConfig(
    pattern="M-M-M-M*-" * 4 + "M-M-M-M-",
    vocab_size=65_536,
    d_model=2048,
    intermediate_size=7168,
    num_attention_heads=16,
    num_key_value_heads=4,
    head_dim=128,
    mamba_num_heads=64,
    mamba_head_dim=64,
    ssm_state_size=128,
    n_groups=8,
    initializer_range=width_scaled_std(2048),
)
"""1.5 B parameters, shaped like Nemotron-H."""


def gpu_seconds(contenders: Mapping[str, Callable[[], object]], repeats: int = 10) -> dict[str, float]:
    """Seconds of the device for each, the median of `repeats` turns after three to warm up; contenders take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats + 3):
        for name, work in contenders.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            end.synchronize()
            seconds[name].append(start.elapsed_time(end) / 1e3)
    return {name: median(values[3:]) for name, values in seconds.items()}


def header() -> None:
    import triton

    today = datetime.datetime.now(datetime.UTC).date()
    print(f"\n{torch.cuda.get_device_name()}, {today}, torch {torch.__version__}, triton {triton.__version__}")


def peak() -> float:
    """FLOP/s that the device reaches at most. Raises ValueError where that is not known."""
    given, device = os.environ.get("BENCH_PEAK"), torch.cuda.get_device_name()
    if given:
        return float(given)
    for name, flops in PEAKS.items():
        if name in device:
            return flops
    raise ValueError(f"BENCH_PEAK: give the dense bf16 FLOP/s of {device}")


@pytest.mark.parametrize("shape", SCANS)
def bench_ssd(shape: tuple[int, ...]) -> None:
    header()
    batch, length, heads, head_dim, groups, state = shape

    def normal(*size: int, seed: int) -> torch.Tensor:
        numbers = torch.randn(*size, generator=torch.Generator("cuda").manual_seed(seed), device="cuda")
        return numbers.bfloat16().requires_grad_()

    x = normal(batch, length, heads, head_dim, seed=0)
    B, C = (normal(batch, length, groups, state, seed=seed) for seed in (1, 2))
    dt = softplus(normal(batch, length, heads, seed=3).float() - 4).detach().requires_grad_()
    A = (-torch.linspace(1, 16, heads, device="cuda")).requires_grad_()
    D = torch.ones(heads, device="cuda", requires_grad=True)
    inputs, grad = [x, dt, A, B, C, D], normal(*x.shape, seed=4).detach()

    def forward(backend: str) -> torch.Tensor:
        chunk_size = 256 if backend == "mamba_ssm" else 128
        return ssd(x, dt, A, B, C, D_H=D, chunk_size=chunk_size, backend=backend)[0]

    def both(backend: str) -> None:
        torch.autograd.grad(forward(backend), inputs, grad)

    names = [name for name in ("triton", "mamba_ssm") if name in SSD.backends("cuda")]
    seconds = gpu_seconds({name: (lambda name=name: both(name)) for name in names})
    show(f"SSD forward and backward (b, l, h, p, g, n) = {shape}; bar 1x mamba_ssm", seconds, batch * length, "tokens")
    with torch.no_grad():
        seconds = gpu_seconds({name: (lambda name=name: forward(name)) for name in names})
    show("  the same, forward alone", seconds, batch * length, "tokens")
    if "mamba_ssm" not in names:
        print("  mamba-ssm is not installed (extra `gpu`): nothing to compare with")


def bench_training_step() -> None:
    """Loss, gradients and AdamW as in ops.train: float32 weights, products in bf16."""
    header()
    batch, length = int(os.environ.get("BENCH_BATCH", "4")), int(os.environ.get("BENCH_LENGTH", "4096"))
    model = HybridLM.create(HYBRID, seed=0, device="cuda")
    objective = CrossEntropy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    generator = torch.Generator("cuda").manual_seed(0)
    ids_BL = torch.randint(HYBRID.vocab_size, (batch, length + 1), generator=generator, device="cuda")
    seq_idx_BL = torch.zeros(batch, length, dtype=torch.int64, device="cuda")

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            total, _ = objective(ids_BL[:, :-1], ids_BL[:, 1:], seq_idx_BL)
        (total / (batch * length)).backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = gpu_seconds({"stillhouse": step})
    parameters = HYBRID.num_params() / 1e9
    show(f"training step of a hybrid of {parameters:.2f} B parameters", seconds, batch * length, "tokens")
    flops = HYBRID.training_flops_per_token(length) * batch * length / seconds["stillhouse"]
    memory = torch.cuda.max_memory_allocated() / 2**30
    print(f"  {flops / 1e12:.0f} TFLOP/s, MFU {flops / peak():.1%} (bar 45 %), {memory:.1f} GiB at most")


if __name__ == "__main__":
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device")
    for scan in SCANS:
        bench_ssd(scan)
    bench_training_step()
