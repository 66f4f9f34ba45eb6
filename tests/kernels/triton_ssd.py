"""The Triton kernels of the SSD scan, interpreted, against the recurrence in float64."""

import pytest
import torch

from kernels.ssd import ssd
from tests.kernels.test_ssd import make_inputs, run
from tests.kernels.triton_agreement import agree

# batch, length, heads, head_dim, groups, state, chunk
SHAPES = [
    (1, 33, 4, 4, 2, 5, 16),  # ragged last chunk
    (1, 7, 2, 3, 2, 4, 64),  # shorter than a chunk
    (2, 1, 2, 4, 1, 4, 16),
    (1, 50, 3, 18, 1, 20, 32),
]
ALL = ("D", "initial", "packed")


def check(shape, options, dtype, **settings):
    inputs, seq_idx = make_inputs(shape)
    given = [name in options for name in ("D", "initial")]
    wanted = [number for number in range(7) if number < 5 or given[number - 5]]
    agree(lambda name, *t: run(t, seq_idx, options, shape[-1], name), inputs, dtype, wanted=wanted, **settings)


@pytest.mark.parametrize(("shape", "options"), [(SHAPES[0], ()), *((shape, ALL) for shape in SHAPES)])
def test_equals_the_recurrence_with_gradients(shape, options):
    check(shape, options, torch.float64)


def test_float32():
    check(SHAPES[1], ALL, torch.float32)


def test_several_tiles_of_a_chunk(monkeypatch):
    from kernels import ssd_plan

    monkeypatch.setattr(ssd_plan, "MOST_TILE", 16)
    check((1, 40, 2, 4, 1, 4, 32), ALL, torch.float64)


def test_only_the_final_state_or_only_y_is_differentiated():
    inputs, _ = make_inputs((1, 18, 1, 3, 1, 4, 16))
    for which, wanted in enumerate(([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 6])):
        agree(
            lambda name, *t, w=which: [run(t, None, ("D", "initial"), 16, name)[w]],
            inputs,
            torch.float64,
            wanted=wanted,
        )


@pytest.mark.parametrize(("shape", "packed"), [((1, 18, 2, 4, 2, 4), True), ((2, 1, 4, 18, 2, 20), False)])
def test_a_mixer_of_these_kernels_and_its_step_of_decoding(shape, packed):
    """With gradients, and without: then one position takes a kernel of its own."""
    from tests.kernels import test_mamba2

    (actual, alone), (expected, _) = (
        test_mamba2.run(shape, torch.float64, name, with_state=True, packed=packed) for name in ("triton", "ref")
    )
    for a, e in zip([*actual, *alone], [*expected, *expected[:3]], strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)


def test_large_steps_give_neither_infinities_nor_nan():
    inputs, _ = make_inputs((1, 32, 1, 4, 1, 4, 32), dtype=torch.float32)
    x, _, A, B, C, _, _ = (t.requires_grad_() for t in inputs)
    dt = torch.full((1, 32, 1), 10.0, requires_grad=True)
    y, final = ssd(x, dt, A, B, C, chunk_size=32, backend="triton")
    gradients = torch.autograd.grad(y.sum() + final.sum(), [x, dt, A, B, C])
    assert all(torch.isfinite(t).all() for t in (y, final, *gradients))
