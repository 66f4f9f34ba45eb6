"""The Triton kernels on machines without a GPU: interpreted, and compiled for GPUs that are not there.

TRITON_INTERPRET has to be set before triton is imported, so the interpreted tests (`triton_*.py`, which pytest does not
collect by itself) run in processes of their own.
"""

import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from kernels import triton_support

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.skipif(not triton_support.installed(), reason="triton is not installed (extra `triton`)"),
    pytest.mark.skipif(triton_support.interpreted(), reason="TRITON_INTERPRET is set: the compiler is replaced"),
]
no_peer = pytest.mark.skipif(find_spec("mamba_ssm") is None, reason="mamba-ssm is not installed (extra `gpu`)")


@pytest.mark.parametrize("names", ["norms conv1d losses distill", "ssd", pytest.param("mamba_ssm", marks=no_peer)])
def test_interpreted(names: str) -> None:
    files = [f"tests/kernels/triton_{name}.py" for name in names.split()]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-rs", "-p", "no:cacheprovider", *files],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


@pytest.fixture
def first_options():
    """One configuration of each kernel, not all of them."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("first_options")
def test_compiles_for_an_h100(monkeypatch, tmp_path):
    """Every kernel becomes machine code that fits, with the types of bf16 training."""
    from kernels import (
        conv1d_triton,
        distill_loss_triton,
        linear_loss_triton,
        relu2_triton,
        rmsnorm_triton,
        ssd_backward_triton,
        ssd_step_triton,
    )
    from kernels.distill_loss import KINDS, DenseTeacher, Loss, TopK
    from tests.kernels.offline import compiling_for

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def half(*shape: int) -> torch.Tensor:
        return torch.zeros(*shape, dtype=torch.bfloat16, requires_grad=True)

    def single(*shape: int) -> torch.Tensor:
        return torch.zeros(*shape, requires_grad=True)

    documents = torch.zeros(1, 256, dtype=torch.int64)
    target = torch.zeros(8, dtype=torch.int64)
    dense = DenseTeacher(hidden_TE=half(8, 48), weight_VE=half(4096, 48), cap=30.0)
    kept = TopK(ids_TK=torch.zeros(8, 1).int(), log_probs_TK=torch.zeros(8, 1).half(), log_tail_T=torch.zeros(8).half())
    distillations = [
        *((dense, Loss(kind=kind, ce_weight=0.5, cap=30.0, top_k=64, tail="bucket")) for kind in KINDS),
        (kept, Loss(kind="top_k_kl")),
    ]
    with compiling_for(90, 232_448) as compiled:
        outputs = [
            relu2_triton.squared_relu(half(8, 64)),
            rmsnorm_triton.norm(half(8, 2048), half(8, 2048), single(2048), 512, 1e-5),
            conv1d_triton.convolve(half(1, 256, 128), single(128, 4), single(128), half(1, 3, 128), documents),
            linear_loss_triton.cross_entropy(half(8, 32), half(4096, 32), target, 8, 30.0),
            *(
                distill_loss_triton.distillation(half(8, 32), half(4096, 32), seen, target, loss, 8)[0]
                for seen, loss in distillations
            ),
            *ssd_backward_triton.scan(
                half(1, 256, 16, 64),
                single(1, 256, 16),
                single(16),
                half(1, 256, 8, 128),
                half(1, 256, 8, 128),
                single(16),
                single(1, 16, 64, 128),
                documents,
                128,
            ),
        ]
        with torch.no_grad():
            shared = half(2, 8, 128)
            ssd_step_triton.step(
                half(2, 16, 64), single(2, 16), single(16), shared, shared, single(2, 16, 64, 128), single(16)
            )
        torch.autograd.backward([output.float().sum() for output in outputs])
    names = [kernel.name for kernel in compiled]
    assert all(kernel.code.startswith(b"\x7fELF") for kernel in compiled)
    variants = {"_divergence": 4, "_kept_divergence": 2, "_relu2": 2, "_convolve": 2, "pass_states": 2, "_shared": 2}
    once = "_forward _backward _spread _cross_entropy _cumulate _products _scan _inputs _scores _steps _step"
    assert Counter(names) == Counter(variants) + Counter(once.split())
