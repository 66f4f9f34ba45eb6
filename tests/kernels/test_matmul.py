"""Products of float32 matrices against float64, and the linear projection on them."""

import pytest
import torch

from kernels import native
from kernels.dispatch import auto_order
from kernels.linear import LINEAR, linear
from kernels.matmul import LEAST_SIDE, large_enough, matmul, usable

UNIT = 2.0**-24
"""Half a unit in the last place of a float32, relative."""

SHAPES = [
    # m, n, k: on and off the panels of 32, several depths of 512 along k, right factors of more than 128 panels
    (128, 128, 128),
    (129, 160, 200),
    (130, 4200, 128),
    (515, 137, 129),
    (140, 131, 1700),
    (133, 333, 513),
]
TILED = usable(torch.device("cpu")) and "amx" in auto_order()
needs_tiles = pytest.mark.skipif(not TILED, reason="no AMX here: products are torch's")


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def factors(shape, layout):
    """Left and right, each with rows (N) or columns (T) in its memory."""
    m, n, k = shape
    left, right = normal(m, k), normal(k, n, seed=1)
    if layout[0] == "T":
        left = left.T.contiguous().T
    if layout[1] == "T":
        right = right.T.contiguous().T
    return left, right


def assert_exact(found, left, right, before=0.0):
    """No further from the product than float32 sums are: `k` roundings of terms that add up to |left| @ |right|; random
    ones, of which a tenth of the worst case is plenty."""
    expected = left.double() @ right.double() + before
    scale = left.double().abs() @ right.double().abs() + abs(before)
    assert float(((found.double() - expected).abs() / scale).max()) < 8 * UNIT
    assert float((found.double() - expected).norm() / expected.norm()) < 16 * UNIT


@pytest.mark.parametrize("layout", ["NN", "NT", "TN", "TT"])
@pytest.mark.parametrize("shape", SHAPES)
def test_product(shape, layout):
    m, n, k = shape
    assert large_enough(m, n, k)
    left, right = factors(shape, layout)
    assert_exact(matmul(left, right), left, right)


@pytest.mark.parametrize("shape", SHAPES)
def test_sum_with_what_is_there(shape):
    left, right = factors(shape, "NN")
    out = torch.full((shape[0], shape[1]), 3.0)
    assert matmul(left, right, out_MN=out, add=True) is out
    assert_exact(out, left, right, 3.0)


def test_parts_of_larger_matrices():
    """Rows and columns that lie within others, which are left alone."""
    left, right, out = normal(200, 300), normal(300, 400, seed=1), torch.zeros(220, 230)
    matmul(left[10:150, 20:220], right[30:230, 40:240], out_MN=out[5:145, 7:207])
    assert_exact(out[5:145, 7:207], left[10:150, 20:220], right[30:230, 40:240])
    out[5:145, 7:207] = 0
    assert not out.any()


def test_numbers_of_all_sizes():
    """From 2^-60 to 2^60 in one factor, the inverse in the other: pieces of small numbers are not lost."""
    size = torch.exp2(torch.linspace(-60, 60, 256))
    left, right = normal(128, 256) * size, normal(256, 128, seed=1) / size[:, None]
    assert_exact(matmul(left, right), left, right)


def test_whole_numbers_are_exact():
    """Products of 12-bit numbers take all three pieces; sums below 2^24 need no rounding."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randint(-4095, 4096, (128, 128), generator=generator).float()
    right = torch.zeros(128, 128)
    right[torch.arange(128), torch.randperm(128, generator=generator)] = 2047.0
    assert torch.equal(matmul(left, right).double(), left.double() @ right.double())


@needs_tiles
def test_zeros_add_nothing():
    """The end of k filled up with zeros: the same bits as without."""
    left, right = factors((160, 200, 256), "NN")
    left[:, 200:], right[200:] = 0, 0
    assert torch.equal(matmul(left, right), matmul(left[:, :200], right[:200]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so(bad):
    left, right = factors((128, 128, 128), "NN")
    left[3, 5] = bad
    found = matmul(left, right)
    assert not found[3].isfinite().any()
    assert found[[*range(3), *range(4, 128)]].isfinite().all()


@pytest.mark.parametrize("shape", [(150, 3000, 600), (700, 128, 300), (128, 128, 4000)])
def test_same_bits_for_every_number_of_threads(shape):
    left, right = factors(shape, "NT")
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found.append(matmul(left, right))
    finally:
        torch.set_num_threads(before)
    if TILED:
        assert all(torch.equal(each, found[0]) for each in found)
    for each in found:
        assert_exact(each, left, right)


@needs_tiles
def test_rows_and_columns_do_not_depend_on_others():
    left, right = factors((300, 500, 700), "NN")
    whole = matmul(left, right)
    assert torch.equal(matmul(left[100:230], right[:, 33:200]), whole[100:230, 33:200])


@needs_tiles
def test_tiles_multiply_what_is_large_enough(monkeypatch):
    called = []
    monkeypatch.setattr(native, "call", lambda *arguments: called.append(arguments))
    matmul(*factors((LEAST_SIDE - 1, 1000, 1000), "NN"))
    matmul(normal(128, 128, dtype=torch.float64), normal(128, 128, dtype=torch.float64))
    monkeypatch.setenv("STILLHOUSE_KERNELS", "cpu,torch")
    matmul(*factors((LEAST_SIDE, LEAST_SIDE, LEAST_SIDE), "NN"))
    assert not called
    monkeypatch.delenv("STILLHOUSE_KERNELS")
    matmul(*factors((LEAST_SIDE, LEAST_SIDE, LEAST_SIDE), "NN"))
    assert len(called) == 1


@pytest.mark.parametrize("backend", LINEAR.backends("cpu"))
@pytest.mark.parametrize("shape", [(2, 70, 160, 200), (1, 3, 5, 7)])
def test_linear(backend, shape):
    batch, length, inputs, outputs = shape
    x, weight = normal(batch, length, inputs).requires_grad_(), normal(outputs, inputs, seed=1).requires_grad_()
    grad = normal(batch, length, outputs, seed=2)
    y = linear(x, weight, backend=backend)
    assert y.shape == (batch, length, outputs)
    grad_x, grad_weight = torch.autograd.grad(y, [x, weight], grad)
    rows, grads = x.detach().flatten(0, 1), grad.flatten(0, 1)
    assert_exact(y.detach().flatten(0, 1), rows, weight.detach().T)
    assert_exact(grad_x.flatten(0, 1), grads, weight.detach())
    assert_exact(grad_weight, grads.T, rows)


@pytest.mark.parametrize("backend", LINEAR.backends("cpu"))
def test_linear_of_what_is_not_contiguous(backend):
    x, weight = normal(96, 4, 320).transpose(0, 1)[..., ::2].requires_grad_(), normal(192, 160, seed=1)
    y = linear(x, weight, backend=backend)
    torch.testing.assert_close(y, torch.nn.functional.linear(x, weight), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], weight.sum(0).expand(x.shape), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", LINEAR.backends("cpu"))
def test_what_comes_next_may_write_over_the_result(backend):
    x, weight = normal(2, 128, 128), normal(256, 128, seed=1).requires_grad_()
    linear(x, weight, backend=backend).mul_(2).sum().backward()
    torch.testing.assert_close(weight.grad, 2 * x.sum((0, 1)).expand(256, 128), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wanted", ["x", "weight"])
def test_gradients_that_nobody_wants_are_not_made(wanted):
    x, weight = normal(128, 128), normal(256, 128, seed=1)
    (x if wanted == "x" else weight).requires_grad_()
    linear(x, weight).sum().backward()
    assert (x.grad is None) == (wanted == "weight")
    assert (weight.grad is None) == (wanted == "x")


def test_autocast_has_its_type():
    x, weight = normal(128, 128), normal(256, 128, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
