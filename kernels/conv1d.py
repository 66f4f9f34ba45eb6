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

from kernels import native, triton_support
from kernels.dispatch import Operation

CONV1D: Operation[Callable[..., Tensor]] = Operation("causal_conv1d")

MOST_TAPS = 8
"""Width up to which the `cpu` backend has a kernel of its own."""

SEGMENT = 128
"""Positions that a thread takes at least; gradients of filter and bias are summed within them, then over them."""


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
    if initial_state_BSC is not None:
        initial_state_BSC = initial_state_BSC.to(x_BLC.dtype)
    function = CONV1D.select(backend, x_BLC.device, x_BLC.dtype, weight_CK.dtype, bias_C.dtype)
    y_BLC = function(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL)
    return y_BLC, final_conv_state(x_BLC, width, initial_state_BSC, seq_idx_BL)


def final_conv_state(x_BLC, width, initial_state_BSC, seq_idx_BL):
    """The last K - 1 inputs of the last document."""
    padded_BMC, seq_idx_BM = _padded(
        x_BLC[:, -(width - 1) :],
        width,
        initial_state_BSC,
        None if seq_idx_BL is None else seq_idx_BL[:, -(width - 1) :],
    )
    final_BSC = padded_BMC[:, -(width - 1) :]
    if seq_idx_BM is not None:
        final_BSC = final_BSC * (seq_idx_BM[:, -(width - 1) :] == seq_idx_BM[:, -1:])[..., None]
    return final_BSC


def _padded(x_BLC, width, initial_state_BSC, seq_idx_BL):
    """The state before the inputs (M = K - 1 + L positions), and their documents."""
    if initial_state_BSC is None:
        initial_state_BSC = x_BLC.new_zeros(x_BLC.shape[0], width - 1, x_BLC.shape[2])
    padded_BMC = torch.cat([initial_state_BSC, x_BLC], dim=1)
    if seq_idx_BL is None:
        return padded_BMC, None
    return padded_BMC, torch.cat([seq_idx_BL[:, :1].expand(-1, width - 1), seq_idx_BL], dim=1)


@CONV1D.register("ref")
def _conv1d_ref(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL):
    """The formula, one output position at a time."""
    width = weight_CK.shape[1]
    padded_BMC, seq_idx_BM = _padded(x_BLC, width, initial_state_BSC, seq_idx_BL)
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
def _conv1d_torch(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL):
    padded_BMC, seq_idx_BM = _padded(x_BLC, weight_CK.shape[1], initial_state_BSC, seq_idx_BL)
    return _ShiftedConv.apply(padded_BMC, weight_CK, bias_C, seq_idx_BM)


@CONV1D.register("cpu", usable=native.usable, dtypes=native.DTYPES)
def _conv1d_cpu(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL):
    if weight_CK.shape[1] > MOST_TAPS:
        return _conv1d_torch(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL)
    return _NativeConv.apply(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL)


class _ConvArgs(native.Arguments):
    _fields_ = native.fields(
        "batch length channels width segment threads x_batch x_row y_batch y_row dx_batch dx_row",
        "x weight bias state seq_idx y dy dx dweight dbias dstate",
    )


def _arguments(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL) -> _ConvArgs:
    batch, length, channels = x_BLC.shape
    arguments = _ConvArgs(
        batch=batch,
        length=length,
        channels=channels,
        width=weight_CK.shape[1],
        segment=SEGMENT,
        threads=torch.get_num_threads(),
    )
    arguments.rows("x", x_BLC)
    arguments.point(weight=weight_CK, bias=bias_C, state=initial_state_BSC, seq_idx=seq_idx_BL)
    return arguments


def conv_forward(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL) -> Tensor:
    """y_BLC of the C++ kernel. x is dense in its last axis; the others are contiguous, seq_idx is int64."""
    y_BLC = x_BLC.new_empty(x_BLC.shape)
    arguments = _arguments(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL)
    arguments.rows("y", y_BLC)
    native.call("conv1d_forward", x_BLC.dtype, arguments)
    return y_BLC


def conv_backward(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL, grad_y_BLC, grad_x_BLC):
    """Fills grad_x_BLC; returns the gradients of weight_CK, bias_C and the state_BSC (None without one)."""
    batch, length, channels = x_BLC.shape
    units = batch * -(-length // SEGMENT)
    arguments = _arguments(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL)
    arguments.rows("dy", grad_y_BLC, "y")
    arguments.rows("dx", grad_x_BLC)
    grad_weight_UKC = x_BLC.new_empty(units, weight_CK.shape[1], channels)
    grad_bias_UC = x_BLC.new_empty(units, channels)
    grad_state_BSC = None if initial_state_BSC is None else torch.empty_like(initial_state_BSC)
    arguments.point(dweight=grad_weight_UKC, dbias=grad_bias_UC, dstate=grad_state_BSC)
    native.call("conv1d_backward", x_BLC.dtype, arguments)
    return grad_weight_UKC.sum(0).T, grad_bias_UC.sum(0), grad_state_BSC


class _NativeConv(Function):
    @staticmethod
    def forward(ctx, x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL):
        inputs = (
            native.inner_dense(x_BLC),
            weight_CK.contiguous(),
            bias_C.contiguous(),
            None if initial_state_BSC is None else initial_state_BSC.contiguous(),
            None if seq_idx_BL is None else seq_idx_BL.to(torch.int64).contiguous(),
        )
        ctx.save_for_backward(*inputs)
        return conv_forward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_BLC):  # pyright: ignore[reportIncompatibleMethodOverride]
        x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL = ctx.saved_tensors
        grad_x_BLC = grad_BLC.new_empty(grad_BLC.shape)
        others = conv_backward(
            x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL, native.inner_dense(grad_BLC), grad_x_BLC
        )
        return grad_x_BLC, *others, None


@CONV1D.register("triton", **triton_support.REGISTRATION)
def _conv1d_triton(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL):
    from kernels import conv1d_triton

    return conv1d_triton.convolve(x_BLC, weight_CK, bias_C, initial_state_BSC, seq_idx_BL)
