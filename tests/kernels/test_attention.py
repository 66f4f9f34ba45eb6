"""Every backend of attention against the formula in float64."""

import pytest
import torch

from kernels.attention import ATTENTION, attention, visible

FAST = [name for name in ATTENTION.backends("cpu") if name != "ref"]
# batch, query heads, key-value heads, queries, keys, head dim
SHAPES = [
    (2, 4, 2, 1, 1, 8),
    (1, 4, 1, 17, 17, 20),  # a head dim that fills no vector
    (2, 8, 2, 64, 64, 32),
    (1, 2, 2, 65, 65, 80),  # a block and one more
    (2, 6, 2, 300, 300, 32),
    (9, 2, 1, 70, 70, 8),  # heads that share keys in one unit of work
    (1, 3, 1, 100, 170, 128),  # keys before the queries, in blocks of which some queries see nothing
    (2, 4, 2, 1, 70, 8),
]


def make_inputs(shape, *, dtype=torch.float64, seed=0):
    """(q, k, v) as views of (B, L, heads * E), and the gradient of the output."""
    batch, heads, kv_heads, length, keys, head_dim = shape
    generator = torch.Generator().manual_seed(seed)

    def by_head(positions, count):
        rows = torch.randn(batch, positions, count * head_dim, generator=generator, dtype=torch.float64)
        return rows.to(dtype).unflatten(-1, (count, head_dim)).transpose(1, 2)

    q, k, v, grad = (by_head(*of) for of in ((length, heads), (keys, kv_heads), (keys, kv_heads), (length, heads)))
    return [q, k, v], grad


def documents(kind, shape):
    """Numbers of documents: none, some with boundaries inside of blocks, a document for each position, numbers that
    come again, and padding on the left."""
    batch, keys = shape[0], shape[4]
    generator = torch.Generator().manual_seed(1)
    numbers = {
        "none": None,
        "packed": torch.rand(batch, keys, generator=generator).lt(0.04).long().cumsum(1),
        "single": torch.arange(keys).expand(batch, keys),
        "again": torch.randint(-1, 2, (batch, keys), generator=generator),
        "padded": (torch.arange(keys) >= keys * 2 // 3).long().expand(batch, keys),
    }
    return numbers[kind]


def values_and_gradients(inputs, grad, seq_idx, backend):
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    y = attention(*leaves, seq_idx_BT=seq_idx, backend=backend)
    return [y, *torch.autograd.grad(y, leaves, grad)]


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["none", "packed", "single", "again", "padded"])
def test_values_and_gradients(backend, shape, kind):
    seq_idx = documents(kind, shape)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        inputs, grad = make_inputs(shape, dtype=dtype)
        exact = [tensor.double() for tensor in inputs]
        expected = values_and_gradients(exact, grad.double(), seq_idx, "ref")
        for actual, wanted in zip(values_and_gradients(inputs, grad, seq_idx, backend), expected, strict=True):
            torch.testing.assert_close(actual.double(), wanted, rtol=tolerance, atol=tolerance)


def test_the_formula_by_hand():
    """Three positions, one head, one channel: weights are exponentials of products."""
    q, k, v = (
        torch.tensor(numbers, dtype=torch.float64).view(1, 1, 3, 1) for numbers in ((1, 2, 3), (0, 1, -1), (5, 7, 9))
    )
    e = torch.tensor(torch.e, dtype=torch.float64)
    second = (5 + 7 * e**2) / (1 + e**2)
    third = (5 + 7 * e**3 + 9 * e**-3) / (1 + e**3 + e**-3)
    for backend in ATTENTION.backends("cpu"):
        torch.testing.assert_close(
            attention(q, k, v, backend=backend).flatten(), torch.stack([v[0, 0, 0, 0], second, third])
        )
        apart = attention(q, k, v, seq_idx_BT=torch.tensor([[4, 4, 5]]), backend=backend).flatten()
        torch.testing.assert_close(apart, torch.stack([v[0, 0, 0, 0], second, v[0, 0, 2, 0]]))


@pytest.mark.parametrize("backend", FAST)
def test_scores_far_from_zero(backend):
    """Sums of exponentials that would overflow, of keys in several blocks."""
    inputs, grad = make_inputs((1, 2, 1, 200, 200, 16))
    inputs = [60 * inputs[0], inputs[1], inputs[2]]
    expected = values_and_gradients(inputs, grad, None, "ref")
    for actual, wanted in zip(values_and_gradients(inputs, grad, None, backend), expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("kind", ["none", "packed"])
def test_gradients_are_those_of_differences(backend, kind):
    shape = (2, 4, 2, 5, 7, 3)
    inputs, _ = make_inputs(shape)
    leaves = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(
        lambda *t: attention(*t, seq_idx_BT=documents(kind, shape), backend=backend), leaves
    )


@pytest.mark.parametrize("backend", FAST)
def test_memory_as_it_comes(backend):
    """Any steps between batch rows, heads and positions, and a last axis that is not dense, here and in gradients."""
    inputs, grad = make_inputs((2, 4, 2, 70, 70, 20))
    expected = values_and_gradients(inputs, grad, None, "ref")
    every_second = [torch.stack([t, t], -1).flatten(-2)[..., ::2] for t in (*inputs, grad)]
    by_head = [t.contiguous() for t in (*inputs, grad)]
    inside = [torch.nn.functional.pad(t, (3, 4, 1, 2))[:, :, 1:-2, 3:-4] for t in (*inputs, grad)]
    for *tensors, outer in (every_second, by_head, inside):
        for actual, wanted in zip(values_and_gradients(tensors, outer, None, backend), expected, strict=True):
            torch.testing.assert_close(actual, wanted)
    whole = torch.ones((), dtype=torch.float64).expand(2, 4, 70, 20)
    for actual, wanted in zip(
        values_and_gradients(inputs, whole, None, backend),
        values_and_gradients(inputs, whole, None, "ref"),
        strict=True,
    ):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.skipif("cpu" not in FAST, reason="no C++ compiler here")
def test_results_lie_as_projections_read_them():
    inputs, grad = make_inputs((2, 4, 2, 9, 9, 20))
    for tensor in values_and_gradients(inputs, grad, None, "cpu"):
        assert tensor.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("backend", FAST)
def test_a_mask_that_is_there_already(backend):
    shape = (2, 4, 2, 40, 70, 8)
    (q, k, v), _ = make_inputs(shape)
    seq_idx = documents("packed", shape)
    mask = visible(40, seq_idx)
    assert mask.shape == (2, 1, 40, 70)
    expected = attention(q, k, v, seq_idx_BT=seq_idx, backend="ref")
    torch.testing.assert_close(attention(q, k, v, seq_idx_BT=seq_idx, mask_B1LT=mask, backend=backend), expected)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_go_on(backend, which, value):
    inputs, _ = make_inputs((1, 2, 1, 150, 150, 8), dtype=torch.float32)
    inputs[which] = inputs[which].clone()
    inputs[which][0, 0, 80, 3] = value
    finite = attention(*inputs, backend=backend)[0, 0].isfinite().all(-1)
    assert not finite[80]
    if which == 2:
        assert not finite[80:].any()
    if backend == "cpu":
        assert finite[:64].all()


@pytest.mark.skipif("cpu" not in FAST, reason="no C++ compiler here")
def test_documents_are_numbered_in_32_bits_in_cpp():
    (q, k, v), _ = make_inputs((1, 2, 1, 3, 3, 4))
    far = torch.tensor([[0, 0, 2**32]])
    with pytest.raises(ValueError, match="seq_idx_BT must fit into 32 bits, got 0 to 4294967296"):
        attention(q, k, v, seq_idx_BT=far, backend="cpu")


def test_tokens_behind_many_keys_are_left_to_torch():
    (q, k, v), _ = make_inputs((2, 4, 2, 1, 70, 8), dtype=torch.float32)
    assert torch.equal(attention(q, k, v), attention(q, k, v, backend="torch"))


def test_half_precision_is_left_to_torch():
    (q, k, v), _ = make_inputs((1, 2, 1, 20, 20, 8))
    y = attention(*(tensor.bfloat16() for tensor in (q, k, v)))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), attention(q, k, v), rtol=0.05, atol=0.05)


def test_wrong_arguments_are_named():
    (q, k, v), _ = make_inputs((1, 4, 2, 5, 5, 8))
    with pytest.raises(ValueError, match=r"v_BKTE has shape \(1, 2, 4, 8\), expected \(1, 2, 5, 8\)"):
        attention(q, k, v[:, :, :4])
    with pytest.raises(ValueError, match=r"seq_idx_BT has shape \(1, 4\)"):
        attention(q, k, v, seq_idx_BT=torch.zeros(1, 4))
    with pytest.raises(ValueError, match="3 query heads do not divide among 2 key-value heads"):
        attention(q[:, :3], k, v)
    with pytest.raises(ValueError, match="5 queries must be the last of 4 keys"):
        attention(q, k[:, :, :4], v[:, :, :4])
