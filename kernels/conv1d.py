"""Causal depthwise convolution of width K followed by SiLU, as in front of the SSD scan of Mamba-2.

    y_t = silu(bias + sum_k weight_k * x_{t - (K-1) + k})

Shape suffixes: B batch, L length, C channels, K width, S = K - 1 positions of state.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from kernels.dispatch import Operation

CONV1D: Operation[Callable[..., Tensor]] = Operation("causal_conv1d")


def causal_conv1d(
    x_BLC: Tensor,
    weight_CK: Tensor,
    bias_C: Tensor,
    *,
    initial_state_BSC: Tensor | None = None,
    seq_idx_BL: Tensor | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Convolve and activate; returns (y_BLC, final state_BSC).

    The state is the last K - 1 inputs; those before the sequence are `initial_state_BSC` (zeros if None).
    `seq_idx_BL` (integers, constant inside a document and different in neighbouring ones) keeps documents from
    seeing one another; the initial state belongs to the first document, the final one to the last.

    Raises ValueError where shapes do not fit.
    """
    batch, length, channels = x_BLC.shape
    width = weight_CK.shape[1]
    expected = {
        "weight_CK": (weight_CK, (channels, width)),
        "bias_C": (bias_C, (channels,)),
        "initial_state_BSC": (initial_state_BSC, (batch, width - 1, channels)),
        "seq_idx_BL": (seq_idx_BL, (batch, length)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"causal_conv1d: {name} has shape {tuple(tensor.shape)}, expected {shape}")
    if initial_state_BSC is None:
        initial_state_BSC = x_BLC.new_zeros(batch, width - 1, channels)
    padded_BMC = torch.cat([initial_state_BSC.to(x_BLC.dtype), x_BLC], dim=1)  # M = K - 1 + L
    seq_idx_BM = None
    if seq_idx_BL is not None:
        seq_idx_BM = torch.cat([seq_idx_BL[:, :1].expand(-1, width - 1), seq_idx_BL], dim=1)
    y_BLC = CONV1D.select(backend, x_BLC.device)(padded_BMC, weight_CK, bias_C, seq_idx_BM)
    final_BSC = padded_BMC[:, length:]
    if seq_idx_BM is not None:
        final_BSC = final_BSC * (seq_idx_BM[:, length:] == seq_idx_BM[:, -1:])[..., None]
    return y_BLC, final_BSC


@CONV1D.register("ref")
def _conv1d_ref(padded_BMC, weight_CK, bias_C, seq_idx_BM):
    """The formula, one output position at a time."""
    width = weight_CK.shape[1]
    outputs = []
    for end in range(width - 1, padded_BMC.shape[1]):
        window_BKC = padded_BMC[:, end - width + 1 : end + 1]
        if seq_idx_BM is not None:
            same_BK = seq_idx_BM[:, end - width + 1 : end + 1] == seq_idx_BM[:, end : end + 1]
            window_BKC = window_BKC * same_BK[..., None]
        outputs.append((window_BKC * weight_CK.T).sum(1) + bias_C)
    return silu(torch.stack(outputs, dim=1))


class _ShiftedConv(Function):
    """The formula as a sum of K shifted products, with its gradients written out.

    Channels stay the last axis, as the projection in front and the scan behind have them.
    """

    @staticmethod
    def forward(ctx, padded_BMC, weight_CK, bias_C, seq_idx_BM):
        length = padded_BMC.shape[1] - weight_CK.shape[1] + 1
        sum_BLC = bias_C.expand(padded_BMC.shape[0], length, -1)
        for k, (part, same) in enumerate(_shifts(padded_BMC.shape[1], weight_CK.shape[1], seq_idx_BM)):
            x_BLC = padded_BMC[:, part] if same is None else padded_BMC[:, part] * same
            sum_BLC = torch.addcmul(sum_BLC, x_BLC, weight_CK[:, k])
        ctx.save_for_backward(padded_BMC, weight_CK, sum_BLC, seq_idx_BM)
        return silu(sum_BLC)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_BLC):  # pyright: ignore[reportIncompatibleMethodOverride]
        padded_BMC, weight_CK, sum_BLC, seq_idx_BM = ctx.saved_tensors
        grad_BLC = torch.ops.aten.silu_backward(grad_BLC, sum_BLC)
        grad_padded_BMC = torch.zeros_like(padded_BMC)
        grad_weight_CK = torch.empty_like(weight_CK)
        for k, (part, same) in enumerate(_shifts(padded_BMC.shape[1], weight_CK.shape[1], seq_idx_BM)):
            masked_BLC = grad_BLC if same is None else grad_BLC * same
            grad_padded_BMC[:, part].addcmul_(masked_BLC, weight_CK[:, k])
            grad_weight_CK[:, k] = (masked_BLC * padded_BMC[:, part]).sum((0, 1))
        return grad_padded_BMC, grad_weight_CK, grad_BLC.sum((0, 1)), None


def _shifts(padded_length, width, seq_idx_BM) -> Iterator[tuple[slice, Tensor | None]]:
    """For each tap k: the inputs that it meets, and where these are of the output's document (mask_BL1)."""
    for k in range(width):
        part = slice(k, padded_length - width + 1 + k)
        if seq_idx_BM is None or k == width - 1:
            yield part, None
        else:
            yield part, (seq_idx_BM[:, part] == seq_idx_BM[:, width - 1 :])[..., None]


@CONV1D.register("torch")
def _conv1d_torch(padded_BMC, weight_CK, bias_C, seq_idx_BM):
    return _ShiftedConv.apply(padded_BMC, weight_CK, bias_C, seq_idx_BM)
