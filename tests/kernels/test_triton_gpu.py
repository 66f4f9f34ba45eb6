"""The Triton kernels on a GPU, at the sizes of real layers, against torch in float64 there."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kernels.conv1d import causal_conv1d
from kernels.distill_loss import KINDS, TAILS, DenseTeacher, Loss, linear_distillation, linear_most_likely
from kernels.linear_loss import linear_cross_entropy, linear_kl
from kernels.relu2 import squared_relu
from kernels.rmsnorm import gated_rms_norm, rms_norm
from kernels.ssd import SSD, ssd
from tests.kernels import triton_agreement
from tests.kernels.test_ssd import make_inputs, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16]),
]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return triton_agreement.normal(*shape, seed=seed).cuda()


def agree(run, inputs, dtype, **options) -> None:
    triton_agreement.agree(run, inputs, dtype, reference="torch", **options)


def test_pointwise_and_norms(dtype):
    x, gate, weight = normal(4, 1000, 4096), normal(4, 1000, 4096, seed=1), 1 + normal(4096, seed=2)
    agree(lambda backend, x: [squared_relu(x, backend=backend)], [x], dtype)
    agree(lambda backend, *t: [rms_norm(*t, eps=1e-5, backend=backend)], [x, weight], dtype, single=[1])
    agree(
        lambda backend, *t: [gated_rms_norm(*t, group_size=512, eps=1e-5, backend=backend)],
        [x, gate, weight],
        dtype,
        single=[2],
    )


@pytest.mark.parametrize("packed", [False, True])
def test_convolution(dtype, packed):
    x, weight, bias, state = normal(2, 2047, 6144), normal(6144, 4), normal(6144), normal(2, 3, 6144)
    seq_idx = (torch.arange(2047).cuda() // 300).expand(2, -1) if packed else None

    def convolve(backend, x, weight, bias, state):
        return causal_conv1d(x, weight, bias, initial_state_BSC=state, seq_idx_BL=seq_idx, backend=backend)

    agree(convolve, [x, weight, bias, state], dtype, single=[1, 2])


@pytest.fixture(scope="module")
def projections() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states and a projection of a student and, narrower, of its teacher."""
    return (
        normal(1000, 512),
        normal(32_000, 512, seed=1) / 20,
        normal(1000, 384, seed=2),
        normal(32_000, 384, seed=3) / 20,
    )


@pytest.fixture(scope="module")
def target() -> Tensor:
    target = torch.arange(1000).cuda() * 31
    target[::7] = -100
    return target


@pytest.mark.parametrize("cap", [None, 3.0])
def test_losses(dtype, projections, target, cap):
    student, theirs = projections[:2], projections[2:]

    def entropy(backend, h, w):
        return [linear_cross_entropy(h, w, target, cap=cap, chunk_size=300, backend=backend)[0]]

    def kl(backend, h, w):
        teacher = [tensor.to(h.dtype) for tensor in theirs]
        options = {"temperature": 2.0, "mask_T": target >= 0, "cap": cap, "teacher_cap": cap, "chunk_size": 300}
        return [linear_kl(h, w, *teacher, **options, backend=backend)[0]]

    agree(entropy, student, dtype)
    agree(kl, student, dtype)


LOSSES = [Loss(kind=kind, top_k=40, tail="bucket", temperature=0.5, cap=3.0, ce_weight=0.5) for kind in KINDS]
LOSSES += [*(Loss(kind=kind) for kind in KINDS[:4]), Loss(kind="top_k_kl", top_k=5000, ce_weight=1.0)]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_distillation(dtype, projections, target, loss):
    def distil(backend, h, w):
        hidden, weight = (tensor.to(h.dtype) for tensor in projections[2:])
        teacher = DenseTeacher(hidden_TE=hidden, weight_VE=weight, cap=loss.cap)
        return linear_distillation(h, w, teacher, target, loss=loss, chunk_size=300, backend=backend)

    agree(distil, projections[:2], dtype)


@pytest.mark.parametrize("tail", TAILS)
def test_a_teacher_kept_as_its_most_likely_tokens(dtype, projections, target, tail):
    kept = linear_most_likely(projections[2], projections[3], 40)
    halves = {name: getattr(kept, name).half() for name in ("log_probs_TK", "log_tail_T")}
    kept = replace(kept, **halves)
    loss = Loss(kind="top_k_kl", tail=tail, ce_weight=0.5)

    def distil(backend, h, w):
        return linear_distillation(h, w, kept, target, loss=loss, chunk_size=300, backend=backend)

    agree(distil, projections[:2], dtype)


# batch, length, heads, head_dim, groups, state, chunk
SHAPES = [(2, 2048, 32, 64, 8, 128, 128), (1, 1000, 16, 80, 1, 128, 256), (1, 300, 8, 64, 2, 256, 64)]


@pytest.mark.parametrize("backend", ["triton", "mamba_ssm"])
@pytest.mark.parametrize("options", [("D",), ("D", "initial", "packed")])
@pytest.mark.parametrize("shape", SHAPES)
def test_scan(dtype, shape, options, backend):
    if backend not in SSD.backends("cuda"):
        pytest.skip("mamba-ssm is not installed (extra `gpu`)")
    inputs, seq_idx = make_inputs(shape)
    inputs, seq_idx = [t.cuda() for t in inputs], seq_idx.cuda()
    wanted = range(7 if "initial" in options else 6)
    agree(
        lambda name, *t: run(t, seq_idx, options, shape[-1], name),
        inputs,
        dtype,
        backend=backend,
        wanted=wanted,
        single=[1, 2, 5, 6],
    )


def test_a_run_repeats_bit_for_bit(dtype):
    inputs, seq_idx = make_inputs(SHAPES[0])
    inputs = [t.to("cuda", torch.float32 if i in (1, 2, 5, 6) else dtype) for i, t in enumerate(inputs)]
    first, second = (
        triton_agreement.results(
            lambda name, *t: run(t, seq_idx.cuda(), ("D", "initial", "packed"), 128, name), "triton", inputs, range(7)
        )
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_auto_is_triton_and_nothing_waits_for_the_device(dtype):
    inputs, _ = make_inputs(SHAPES[0])
    x, dt, A, B, C, D, _ = (t.to("cuda", dtype).requires_grad_() for t in inputs)
    for turn in range(2):  # the first call chooses options by timing
        torch.cuda.set_sync_debug_mode("error" if turn else "default")
        try:
            y, _final = ssd(x, dt, A, B, C, D_H=D, chunk_size=128)
            y.backward(torch.ones_like(y))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert SSD.select("auto", x.device, dtype) is SSD.select("triton", x.device, dtype)
