"""The Triton kernels on a GPU, at the sizes of real layers, against torch in float64 there."""

import pytest
import torch
from torch import Tensor

from kernels.conv1d import causal_conv1d
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


def test_losses(dtype):
    hidden, weight, teacher = normal(1000, 512), normal(32_000, 512, seed=1) / 20, normal(1000, 512, seed=2)
    target = torch.arange(1000).cuda() * 31
    target[::7] = -100
    agree(
        lambda backend, h, w: [linear_cross_entropy(h, w, target, chunk_size=300, backend=backend)[0]],
        [hidden, weight],
        dtype,
    )
    agree(
        lambda backend, h, w: [
            linear_kl(h, w, teacher.to(h.dtype), w.detach(), temperature=2.0, chunk_size=300, backend=backend)[0]
        ],
        [hidden, weight],
        dtype,
    )


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
