"""The chunked losses against torch's losses on whole logits."""

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from kernels import linear_loss_cpu
from kernels.linear_loss import (
    CROSS_ENTROPY,
    linear_cross_entropy,
    linear_kl,
    linear_token_losses,
)

BACKENDS = CROSS_ENTROPY.backends("cpu")
TOKENS, WIDTH, VOCAB = 23, 6, 31


def make_inputs(width=WIDTH, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(TOKENS, width, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(VOCAB, width, generator=generator, dtype=torch.float64).to(dtype)
    target = torch.randint(0, VOCAB, (TOKENS,), generator=generator)
    target[[0, 7, 22]] = -100
    return hidden.requires_grad_(), weight.requires_grad_(), target


def capped(logits, cap):
    return logits if cap is None else cap * torch.tanh(logits / cap)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("chunk_size", [1, 5, 23, 1000])
@pytest.mark.parametrize("cap", [None, 1.5])
def test_cross_entropy(backend, chunk_size, cap):
    hidden, weight, target = make_inputs()
    expected = cross_entropy(capped(hidden @ weight.T, cap), target, ignore_index=-100, reduction="sum")
    total, count = linear_cross_entropy(hidden, weight, target, cap=cap, chunk_size=chunk_size, backend=backend)
    assert int(count) == 20
    torch.testing.assert_close(total, expected)
    for a, e in zip(
        torch.autograd.grad(total / count, [hidden, weight]),
        torch.autograd.grad(expected / 20, [hidden, weight]),
        strict=True,
    ):
        torch.testing.assert_close(a, e)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("caps", [(None, None), (1.5, None), (2.5, 0.8)])
def test_kl(backend, temperature, masked, caps):
    hidden, weight, target = make_inputs()
    teacher_hidden, teacher_weight, _ = make_inputs(width=9, seed=1)
    mask = target >= 0 if masked else torch.ones(TOKENS, dtype=torch.bool)
    expected = kl_div(
        log_softmax(capped(hidden @ weight.T, caps[0]) / temperature, -1)[mask],
        log_softmax(capped(teacher_hidden @ teacher_weight.T, caps[1]) / temperature, -1)[mask].detach(),
        reduction="sum",
        log_target=True,
    )
    total, count = linear_kl(
        hidden,
        weight,
        teacher_hidden,
        teacher_weight,
        temperature=temperature,
        mask_T=mask if masked else None,
        cap=caps[0],
        teacher_cap=caps[1],
        chunk_size=5,
        backend=backend,
    )
    assert int(count) == int(mask.sum())
    torch.testing.assert_close(total, expected)
    for a, e in zip(
        torch.autograd.grad(total * 0.3, [hidden, weight]),
        torch.autograd.grad(expected * 0.3, [hidden, weight]),
        strict=True,
    ):
        torch.testing.assert_close(a, e)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cap", [None, 1.0])
def test_gradcheck(backend, cap):
    hidden, weight, target = make_inputs()
    teacher_hidden, teacher_weight, _ = make_inputs(seed=1)
    assert torch.autograd.gradcheck(
        lambda h, w: linear_cross_entropy(h, w, target, cap=cap, chunk_size=4, backend=backend)[0], [hidden, weight]
    )
    assert torch.autograd.gradcheck(
        lambda h, w: linear_kl(h, w, teacher_hidden, teacher_weight, cap=cap, chunk_size=4, backend=backend)[0],
        [hidden, weight],
    )


@pytest.fixture
def tiled(monkeypatch):
    """Small tiles, which none of the sizes is a multiple of."""
    monkeypatch.setattr(linear_loss_cpu, "TILE_TOKENS", 5)
    monkeypatch.setattr(linear_loss_cpu, "TILE_COLUMNS", 7)


@pytest.mark.skipif("cpu" not in BACKENDS, reason="no C++ kernels here")
@pytest.mark.parametrize("narrow", [128, 0], ids=["tiles", "chunks"])
@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("temperature", [None, 1.0, 2.5])
def test_tiles_and_chunks(tiled, monkeypatch, narrow, cap, scale, temperature):
    monkeypatch.setattr(linear_loss_cpu, "NARROW_WIDTH", narrow)
    hidden, weight, target = make_inputs()
    others = make_inputs(width=9, seed=1)[:2]
    hidden, weight = (hidden * scale).detach().requires_grad_(), weight.flip(0).detach().requires_grad_()

    def loss(backend):
        options = {"cap": cap, "chunk_size": 4, "backend": backend}
        if temperature is None:
            return linear_cross_entropy(hidden, weight, target, **options)[0]
        options |= {"temperature": temperature, "mask_T": target >= 0}
        return linear_kl(hidden, weight, *others, teacher_cap=cap, **options)[0]

    expected, total = loss("ref"), loss("cpu")
    torch.testing.assert_close(total, expected)
    with torch.no_grad():
        assert torch.equal(loss("cpu"), total)
    wanted = torch.autograd.grad(expected * 0.3, [hidden, weight])
    found = torch.autograd.grad(total * 0.3, [hidden, weight], retain_graph=True)
    for a, e in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, e)
    for a, again in zip(found, torch.autograd.grad(total * 0.3, [hidden, weight]), strict=True):
        assert torch.equal(a, again)


@pytest.mark.skipif("cpu" not in BACKENDS, reason="no C++ kernels here")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_reaches_the_loss_through_tiles(tiled, value):
    hidden, weight, target = make_inputs()
    broken = weight.detach().clone()
    broken[-1, 0] = value
    options = {"chunk_size": 4, "backend": "cpu"}
    assert not linear_cross_entropy(hidden, broken, target, **options)[0].isfinite()
    assert not linear_kl(hidden, broken, hidden, weight, **options)[0].isfinite()


def test_kl_of_equal_models_is_zero_and_the_teacher_gets_no_gradient():
    hidden, weight, _ = make_inputs()
    teacher_hidden, teacher_weight, _ = make_inputs()
    total, _ = linear_kl(hidden, weight, teacher_hidden, teacher_weight)
    assert abs(total.item()) < 1e-12
    total.backward()
    assert teacher_hidden.grad is None
    assert teacher_weight.grad is None
    torch.testing.assert_close(hidden.grad, torch.zeros_like(hidden))


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_hidden_wants_a_gradient(backend):
    hidden, weight, target = make_inputs()
    expected = torch.autograd.grad(
        cross_entropy(hidden @ weight.T, target, ignore_index=-100, reduction="sum"), hidden
    )[0]
    total, _ = linear_cross_entropy(hidden, weight.detach(), target, chunk_size=4, backend=backend)
    torch.testing.assert_close(torch.autograd.grad(total, hidden)[0], expected)


def test_token_losses():
    hidden, weight, target = make_inputs()
    target = target.clamp(min=0)
    expected = -log_softmax(hidden @ weight.T, -1)[torch.arange(TOKENS), target]
    torch.testing.assert_close(linear_token_losses(hidden, weight, target, chunk_size=7), expected.detach())
    expected = -log_softmax(capped(hidden @ weight.T, 2.0), -1)[torch.arange(TOKENS), target]
    torch.testing.assert_close(linear_token_losses(hidden, weight, target, cap=2.0, chunk_size=7), expected.detach())


def test_half_precision_loss_is_summed_in_float32():
    hidden, weight, target = make_inputs(dtype=torch.bfloat16)
    total, count = linear_cross_entropy(hidden, weight, target, chunk_size=4)
    expected = cross_entropy(hidden.double() @ weight.double().T, target, reduction="sum")
    assert total.dtype == torch.float32
    torch.testing.assert_close(total.double(), expected, rtol=0.01, atol=0.0)
    (total / count).backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.bfloat16


def test_no_counted_token_gives_zero():
    hidden, weight, target = make_inputs()
    total, count = linear_cross_entropy(hidden, weight, torch.full_like(target, -100))
    assert (total.item(), count.item()) == (0.0, 0)
    total.backward()
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_wrong_arguments_are_named():
    hidden, weight, target = make_inputs()
    with pytest.raises(ValueError, match="holds 31, outside the vocabulary of 31"):
        linear_cross_entropy(hidden, weight, target.masked_fill(target == target[1], VOCAB))
    with pytest.raises(ValueError, match="for 23 tokens"):
        linear_cross_entropy(hidden, weight, target[:5])
    with pytest.raises(ValueError, match="teacher has 30 logits, student 31"):
        linear_kl(hidden, weight, hidden, weight[:30])
    with pytest.raises(ValueError, match="temperature must be positive"):
        linear_kl(hidden, weight, hidden, weight, temperature=0.0)
