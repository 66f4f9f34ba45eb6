"""The Triton kernel of the causal convolution, interpreted, against the formula in float64."""

import itertools

import pytest
import torch

from kernels.conv1d import causal_conv1d
from tests.kernels.test_conv1d import make_inputs
from tests.kernels.triton_agreement import agree


@pytest.mark.parametrize("shape", [(2, 13, 3, 4), (1, 2, 5, 4), (2, 9, 4, 2), (1, 70, 66, 3)])
@pytest.mark.parametrize(("with_state", "packed"), list(itertools.product([False, True], repeat=2)))
def test_equals_ref_with_gradients(shape, with_state, packed):
    tensors, seq_idx = make_inputs(*shape)

    def run(backend, x, weight, bias, initial=None):
        seq_idx_BL = seq_idx if packed else None
        return causal_conv1d(x, weight, bias, initial_state_BSC=initial, seq_idx_BL=seq_idx_BL, backend=backend)

    agree(run, tensors[: 4 if with_state else 3], torch.float64)


def test_float32_of_a_slice():
    """As in a mixer: the channels are some of those of a wider tensor."""
    (x, weight, bias, initial), seq_idx = make_inputs(2, 13, 9, 4)

    def run(backend, x, weight, bias, initial):
        return causal_conv1d(
            x[..., 2:8], weight, bias, initial_state_BSC=initial, seq_idx_BL=seq_idx.int(), backend=backend
        )

    agree(run, [x, weight[:6], bias[:6], initial[..., :6]], torch.float32)
