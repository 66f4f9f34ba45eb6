"""The `cpu` backend of kernels.decode: csrc/decode_step.cpp. Shape suffixes as in kernels.decode_network."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from kernels import native
from kernels.conv1d import MOST_TAPS
from kernels.decode_network import AttentionLayer, ExpertsLayer, FeedForwardLayer, Layer, Mamba2Layer, Network

WEIGHTS_PER_THREAD = 1 << 16
"""Numbers of weights below which another thread costs more than it saves."""


class _Layer(native.Arguments):
    _fields_ = native.fields(
        "kind heads head_dim kv_heads groups state_size taps width "
        "experts chosen expert_dim expert_width expert_groups open_groups normalised",
        "norm in_proj out_proj conv_weight conv_bias dt_bias A_log D mix_norm "
        "q k v q_norm k_norm v_norm router up down latent_in latent_out router_bias",
        doubles="scale",
    )


class _Memory(native.Arguments):
    _fields_ = native.fields("capacity", "first second")


class _Arguments(native.Arguments):
    _fields_ = native.fields(
        "batch width vocabulary layers length threads",
        "layer memory token padding embeddings norm head logits",
        doubles="eps",
    )


def _mamba2(layer: Mamba2Layer) -> _Layer:
    heads, taps = layer.weights.A_log_H.shape[0], layer.weights.conv_weight_CK.shape[1]
    inner = layer.out_proj_DI.shape[1]
    found = _Layer(
        kind=0,
        heads=heads,
        head_dim=inner // heads,
        groups=layer.settings.groups,
        state_size=layer.settings.state_size,
        taps=taps,
    )
    names = ("conv_weight", "conv_bias", "dt_bias", "A_log", "D", "mix_norm")
    found.point(norm=layer.norm_D, in_proj=layer.in_proj_ED, out_proj=layer.out_proj_DI)
    found.point(**dict(zip(names, layer.weights, strict=True)))
    return found


def _attention(layer: AttentionLayer) -> _Layer:
    size = layer.head_dim
    found = _Layer(
        kind=1, heads=layer.q_proj_QD.shape[0] // size, head_dim=size, kv_heads=layer.k_proj_JD.shape[0] // size
    )
    found.point(norm=layer.norm_D, q=layer.q_proj_QD, k=layer.k_proj_JD, v=layer.v_proj_JD, out_proj=layer.o_proj_DQ)
    found.point(q_norm=layer.q_norm_A, k_norm=layer.k_norm_A, v_norm=layer.v_norm_A)
    return found


def _feed_forward(layer: FeedForwardLayer) -> _Layer:
    found = _Layer(kind=2, width=layer.up_proj_MD.shape[0])
    found.point(norm=layer.norm_D, in_proj=layer.up_proj_MD, out_proj=layer.down_proj_DM)
    return found


def _experts(layer: ExpertsLayer) -> _Layer:
    experts, expert_width, expert_dim = layer.up_proj_NMX.shape
    routing = layer.routing
    found = _Layer(
        kind=3,
        width=layer.shared_up_SD.shape[0],
        experts=experts,
        chosen=routing.chosen,
        expert_dim=expert_dim,
        expert_width=expert_width,
        expert_groups=routing.groups,
        open_groups=routing.open_groups,
        normalised=routing.normalised,
        scale=routing.scale,
    )
    found.point(norm=layer.norm_D, in_proj=layer.shared_up_SD, out_proj=layer.shared_down_DS)
    found.point(router=layer.router_ND, router_bias=layer.router_bias_N, up=layer.up_proj_NMX)
    found.point(down=layer.down_proj_NXM, latent_in=layer.latent_in_XD, latent_out=layer.latent_out_DX)
    return found


def _described(layer: Layer) -> _Layer:
    if isinstance(layer, Mamba2Layer):
        return _mamba2(layer)
    if isinstance(layer, AttentionLayer):
        return _attention(layer)
    return _feed_forward(layer) if isinstance(layer, FeedForwardLayer) else _experts(layer)


class Decoder:
    """A kernels.decode.Step; see there. Safe to call from several threads, on memory of their own.

    Raises ValueError for a weight that is not contiguous and for a convolution of too many taps.
    """

    def __init__(self, network: Network) -> None:
        for name, tensor in network.tensors():
            if not tensor.is_contiguous():
                raise ValueError(f"{name} is not contiguous")
        self._network = network
        layers = [_described(layer) for layer in network.layers]
        self._layers = (_Layer * len(layers))(*layers)
        self._shapes = [_memory_shapes(layer) for layer in network.layers]
        for index, layer in enumerate(layers):
            if layer.taps > MOST_TAPS:
                raise ValueError(f"layers.{index}: {layer.taps} taps of the convolution are more than {MOST_TAPS}")
        self._read = sum(tensor.numel() for name, tensor in network.tensors() if name != "embeddings_VD")

    def __call__(
        self, token_B: Tensor, memory: Sequence[Sequence[Tensor | None] | None], length: int, padding_B: Tensor
    ) -> Tensor:
        network = self._network
        vocabulary, width = network.embeddings_VD.shape
        batch, weight = token_B.shape[0], network.head_VD
        kept = (_Memory * len(self._shapes))()
        if len(memory) != len(kept):
            raise ValueError(f"memory of {len(memory)} layers, the network has {len(kept)}")
        for index, tensors in enumerate(memory):
            self._point(kept[index], index, tensors, batch, length)
        logits_BV = weight.new_empty(batch, vocabulary)
        token_B, padding_B = (numbers.to("cpu", torch.int64).contiguous() for numbers in (token_B, padding_B))
        if padding_B.shape != (batch,):
            raise ValueError(f"padding_B has shape {tuple(padding_B.shape)}, expected ({batch},)")
        arguments = _Arguments(
            batch=batch,
            width=width,
            vocabulary=vocabulary,
            layers=len(self._layers),
            length=length,
            threads=min(torch.get_num_threads(), 1 + self._read // WEIGHTS_PER_THREAD),
            eps=network.eps,
            layer=ctypes.addressof(self._layers),
            memory=ctypes.addressof(kept),
        )
        arguments.point(token=token_B, padding=padding_B, embeddings=network.embeddings_VD, norm=network.norm_D)
        arguments.point(head=weight, logits=logits_BV)
        wrong = native.call("decode_step", weight.dtype, arguments)
        if wrong >= batch:
            raise ValueError(f"padding_B is {padding_B.tolist()}, expected from 0 to {length}")
        if wrong >= 0:
            raise ValueError(f"token {int(token_B[wrong])} of row {wrong} is outside of the vocabulary of {vocabulary}")
        return logits_BV

    def _point(self, kept, index: int, tensors: Sequence[Tensor | None] | None, batch: int, length: int) -> None:
        """Hold the memory of a layer against what C++ will read and write there, and point to it."""
        fixed, positions = self._shapes[index]
        if not fixed:
            return
        first, second = tensors or (None, None)
        capacity = 0
        if positions and first is not None and first.ndim == 4:
            capacity = first.shape[2]
            if capacity <= length:
                raise ValueError(f"layers.{index}: there is memory for {capacity} positions, {length} came before")
            fixed = tuple((heads, capacity, size) for heads, _, size in fixed)
        for name, shape, tensor in zip(("first", "second"), fixed, (first, second), strict=True):
            expected = (batch, *shape)
            if tensor is None or tensor.shape != expected or tensor.dtype != self._network.head_VD.dtype:
                found = None if tensor is None else f"{tuple(tensor.shape)} of {tensor.dtype}"
                raise ValueError(f"layers.{index}: the {name} tensor of memory is {found}, expected {expected}")
            if not tensor.is_contiguous():
                raise ValueError(f"layers.{index}: the {name} tensor of memory is not contiguous")
            setattr(kept, name, tensor.data_ptr())
        kept.capacity = capacity


def _memory_shapes(layer: Layer) -> tuple[tuple[tuple[int, ...], ...], bool]:
    """Axes behind the batch of what a layer keeps, and whether the middle one of three is positions."""
    if isinstance(layer, Mamba2Layer):
        channels, taps = layer.weights.conv_weight_CK.shape
        heads, inner = layer.weights.A_log_H.shape[0], layer.out_proj_DI.shape[1]
        return ((taps - 1, channels), (heads, inner // heads, layer.settings.state_size)), False
    if isinstance(layer, AttentionLayer):
        shape = (layer.k_proj_JD.shape[0] // layer.head_dim, 0, layer.head_dim)
        return (shape, shape), True
    return (), False
