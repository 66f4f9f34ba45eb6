"""The Triton kernels of the losses, interpreted, against torch's losses on whole logits in float64."""

import pytest
import torch

from kernels import logits_triton
from kernels.linear_loss import linear_cross_entropy, linear_kl
from tests.kernels.test_linear_loss import VOCAB, make_inputs
from tests.kernels.triton_agreement import agree


@pytest.fixture(params=[logits_triton.MOST_BLOCK, 8])
def block(request, monkeypatch):
    """Rows that one block holds, and rows of several."""
    monkeypatch.setattr(logits_triton, "MOST_BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize(("dtype", "cap"), [(torch.float64, None), (torch.float64, 1.5), (torch.float32, 30.0)])
def test_cross_entropy(dtype, cap):
    hidden, weight, target = make_inputs()
    target[3] = VOCAB - 1

    def run(backend, hidden, weight):
        return [linear_cross_entropy(hidden, weight, target, cap=cap, chunk_size=5, backend=backend)[0]]

    agree(run, [hidden.detach(), weight.detach()], dtype)
    agree(run, [hidden.detach(), weight.detach()], dtype, wanted=[0])


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize(
    ("dtype", "temperature", "caps"),
    [(torch.float64, 1.0, (None, None)), (torch.float64, 2.5, (1.5, 0.8)), (torch.float32, 0.7, (None, 2.0))],
)
def test_kl(dtype, temperature, caps):
    hidden, weight, target = make_inputs()
    teacher = [t.detach() for t in make_inputs(width=9, seed=1)[:2]]

    def run(backend, hidden, weight):
        return [
            linear_kl(
                hidden,
                weight,
                *(t.to(hidden.dtype) for t in teacher),
                temperature=temperature,
                mask_T=target >= 0,
                cap=caps[0],
                teacher_cap=caps[1],
                chunk_size=5,
                backend=backend,
            )[0]
        ]

    agree(run, [hidden.detach(), weight.detach()], dtype)


def test_large_logits_and_infinite_ones():
    """The sum of exponentials does not overflow; what is not finite reaches the loss."""
    weight = torch.eye(4)
    target = torch.tensor([0, 3])
    hidden = torch.tensor([[3e4, 0.0, 0.0, -3e4], [0.0, 1.0, 2.0, 3e38]])
    total, _ = linear_cross_entropy(hidden, weight, target, backend="triton")
    assert total.item() == 0.0
    total, _ = linear_cross_entropy(hidden, weight, target, cap=2.0, backend="triton")
    reference, _ = linear_cross_entropy(hidden, weight, target, cap=2.0, backend="ref")
    torch.testing.assert_close(total, reference)
    hidden[0, 1] = float("inf")
    total, _ = linear_cross_entropy(hidden, weight, target, backend="triton")
    assert not total.isfinite()
