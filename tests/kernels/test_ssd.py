"""Every backend of the SSD scan against the float64 recurrence."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.ssd import SSD, ssd, ssd_step

FAST = [name for name in SSD.backends("cpu") if name != "ref"]
# batch, length, heads, head_dim, groups, state, chunk
SHAPES = [
    (2, 64, 4, 8, 1, 16, 16),
    (1, 61, 4, 8, 2, 8, 16),  # ragged last chunk
    (2, 33, 6, 4, 3, 5, 32),
    (1, 7, 2, 3, 2, 4, 64),  # shorter than a chunk
    (2, 1, 2, 4, 1, 4, 16),
    (1, 150, 4, 24, 1, 40, 64),  # sizes that fill no vector, one group for several threads
]


def make_inputs(shape, *, dtype=torch.float64, seed=0):
    batch, length, heads, head_dim, groups, state, _ = shape
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    dt = (normal(batch, length, heads) - 2).exp()
    A = -(1 + 15 * torch.rand(heads, generator=generator, dtype=torch.float64)).to(dtype)
    inputs = [
        normal(batch, length, heads, head_dim),
        dt,
        A,
        normal(batch, length, groups, state),
        normal(batch, length, groups, state),
        normal(heads),
        normal(batch, heads, head_dim, state),
    ]
    seq_idx = torch.rand(batch, length, generator=generator).lt(0.15).long().cumsum(1)
    return inputs, seq_idx


def run(inputs, seq_idx, options, chunk_size, backend):
    x, dt, A, B, C, D, initial = inputs
    return ssd(
        x,
        dt,
        A,
        B,
        C,
        D_H=D if "D" in options else None,
        initial_state_BHPN=initial if "initial" in options else None,
        seq_idx_BL=seq_idx if "packed" in options else None,
        chunk_size=chunk_size,
        backend=backend,
    )


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [(), ("D",), ("initial",), ("packed",), ("D", "initial", "packed")])
def test_equals_the_recurrence(backend, shape, options):
    inputs, seq_idx = make_inputs(shape)
    expected = run(inputs, seq_idx, options, shape[-1], "ref")
    actual = run(inputs, seq_idx, options, shape[-1], backend)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_float32_and_gradients(backend, shape):
    def outputs_and_gradients(dtype, name):
        inputs, seq_idx = make_inputs(shape, dtype=dtype)
        inputs = [t.requires_grad_() for t in inputs]
        y, final = run(inputs, seq_idx, ("D", "initial", "packed"), shape[-1], name)
        loss = (y * torch.cos(torch.arange(y.numel(), dtype=dtype)).view_as(y)).sum() + final.square().sum()
        return [y, final, *torch.autograd.grad(loss, inputs)]

    expected = outputs_and_gradients(torch.float64, "ref")
    actual = outputs_and_gradients(torch.float32, backend)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == torch.float32
        assert (a.double() - e).norm() <= 1e-5 * e.norm() + 1e-7


@pytest.mark.parametrize("backend", FAST)
def test_gradcheck(backend):
    shape = (1, 7, 4, 2, 2, 3, 3)
    inputs, seq_idx = make_inputs(shape)
    for options in (("D", "initial"), ("D", "initial", "packed")):
        assert torch.autograd.gradcheck(
            lambda *tensors, o=options: run(tensors, seq_idx, o, 3, backend),
            [t.clone().requires_grad_() for t in inputs],
        )


@pytest.mark.parametrize("backend", SSD.backends("cpu"))
def test_packed_documents_are_independent(backend):
    inputs, _ = make_inputs((1, 50, 4, 4, 2, 6, 16))
    x, dt, A, B, C, D, initial = inputs
    bounds = [0, 3, 16, 37, 50]
    seq_idx = torch.zeros(1, 50, dtype=torch.long)
    for number, start in enumerate(bounds[1:-1], 1):
        seq_idx[:, start:] = number
    y, final = ssd(
        x, dt, A, B, C, D_H=D, initial_state_BHPN=initial, seq_idx_BL=seq_idx, chunk_size=16, backend=backend
    )
    state = None
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        part = slice(start, end)
        alone, state = ssd(
            x[:, part],
            dt[:, part],
            A,
            B[:, part],
            C[:, part],
            D_H=D,
            initial_state_BHPN=initial if number == 0 else None,
            backend="ref",
        )
        torch.testing.assert_close(y[:, part], alone)
    torch.testing.assert_close(final, state)


@settings(max_examples=25)
@given(length=st.integers(2, 70), cut=st.data(), chunk=st.integers(1, 40))
def test_a_cut_sequence_continues_from_its_state(length, cut, chunk):
    inputs, _ = make_inputs((1, length, 2, 3, 1, 4, chunk), seed=length)
    x, dt, A, B, C, _, _ = inputs
    at = cut.draw(st.integers(1, length - 1))
    whole, whole_state = ssd(x, dt, A, B, C, chunk_size=chunk)
    first, state = ssd(x[:, :at], dt[:, :at], A, B[:, :at], C[:, :at], chunk_size=chunk)
    second, state = ssd(x[:, at:], dt[:, at:], A, B[:, at:], C[:, at:], chunk_size=chunk, initial_state_BHPN=state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(state, whole_state)


def test_step_continues_the_scan():
    inputs, _ = make_inputs((2, 20, 4, 3, 2, 5, 8))
    x, dt, A, B, C, D, _ = inputs
    whole, final = ssd(x, dt, A, B, C, D_H=D, chunk_size=8)
    _, state = ssd(x[:, :12], dt[:, :12], A, B[:, :12], C[:, :12], D_H=D, chunk_size=8)
    for t in range(12, 20):
        y, state = ssd_step(x[:, t], dt[:, t], A, B[:, t], C[:, t], state, D_H=D)
        torch.testing.assert_close(y, whole[:, t])
    torch.testing.assert_close(state, final)


def test_large_steps_give_neither_infinities_nor_nan():
    """Differences of the cumulative sum reach e^2000 above the diagonal; they must be masked before exp."""
    inputs, _ = make_inputs((1, 64, 2, 4, 1, 4, 32), dtype=torch.float32)
    x, _, A, B, C, _, _ = (t.requires_grad_() for t in inputs)
    dt = torch.full((1, 64, 2), 10.0, requires_grad=True)
    y, final = ssd(x, dt, A, B, C, chunk_size=32)
    gradients = torch.autograd.grad(y.sum() + final.sum(), [x, dt, A, B, C])
    assert all(torch.isfinite(t).all() for t in (y, final, *gradients))


@pytest.mark.parametrize("backend", FAST)
def test_views_into_one_tensor(backend):
    """x, B and C side by side, as the convolution leaves them: the same values and gradients as of copies."""
    inputs, _ = make_inputs((2, 20, 4, 3, 2, 5, 8))
    x, dt, A, B, C, D, _ = inputs
    whole = torch.cat([x.flatten(-2), B.flatten(-2), C.flatten(-2)], -1).requires_grad_()

    def parts(whole):
        x, B, C = whole.split([12, 10, 10], -1)
        return x.unflatten(-1, (4, 3)), dt, A, *(t.unflatten(-1, (2, 5)) for t in (B, C))

    y, _ = ssd(*parts(whole), D_H=D, chunk_size=8, backend=backend)
    expected, _ = ssd(*parts(whole), D_H=D, chunk_size=8, backend="ref")
    torch.testing.assert_close(y, expected)
    weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view_as(y)
    actual = torch.autograd.grad((y * weights).sum(), whole)[0]
    torch.testing.assert_close(actual, torch.autograd.grad((expected * weights).sum(), whole)[0])


def test_half_precision_keeps_the_state_in_float32():
    inputs, _ = make_inputs((1, 40, 2, 4, 1, 4, 16), dtype=torch.float32)
    expected, expected_state = ssd(*inputs[:5], chunk_size=16)
    half = [t.bfloat16() if i in (0, 3, 4) else t for i, t in enumerate(inputs[:5])]
    y, state = ssd(*half, chunk_size=16)
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.1)
    torch.testing.assert_close(state, expected_state, rtol=0.05, atol=0.1)


def test_wrong_arguments_are_named():
    inputs, _ = make_inputs((1, 8, 4, 2, 2, 3, 4))
    x, dt, A, B, C, *_ = inputs
    with pytest.raises(ValueError, match=r"dt_BLH has shape \(1, 7, 4\)"):
        ssd(x, dt[:, :7], A, B, C)
    with pytest.raises(ValueError, match="4 heads do not divide into 3 groups"):
        ssd(x, dt, A, *(torch.zeros(1, 8, 3, 3) for _ in range(2)))
    with pytest.raises(ValueError, match="unknown backend 'fast'; known: auto, ref, torch, cpu, mamba_ssm, triton"):
        ssd(x, dt, A, B, C, backend="fast")
