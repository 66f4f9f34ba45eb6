"""The description of a network that kernels.decode takes tokens through: its weights, layer by layer.

A network is a list of residual layers, x + mixer(norm(x)), between an embedding and a projection to the vocabulary.
Matrices are (outputs, inputs).

Shape suffixes: D model width, V vocabulary; of Mamba-2 layers C, E, H, I, K as in kernels.mamba2; of attention Q = all
query heads' channels, J = all key-value heads' channels, A channels of a head; M hidden width of a feed-forward layer,
of a shared expert or of a routed one, N experts, X width that routed experts work in.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.mamba2 import Settings, Weights


class Mamba2Layer(NamedTuple):
    norm_D: Tensor
    in_proj_ED: Tensor
    weights: Weights
    settings: Settings
    out_proj_DI: Tensor


class AttentionLayer(NamedTuple):
    """Causal, over the heads of `head_dim` channels that the matrices hold, without positions; the norms are optional
    (None), those of queries, keys and values are over each head."""

    norm_D: Tensor | None
    q_proj_QD: Tensor
    k_proj_JD: Tensor
    v_proj_JD: Tensor
    o_proj_DQ: Tensor
    q_norm_A: Tensor | None
    k_norm_A: Tensor | None
    v_norm_A: Tensor | None
    head_dim: int


class FeedForwardLayer(NamedTuple):
    """Squared ReLU between two matrices."""

    norm_D: Tensor
    up_proj_MD: Tensor
    down_proj_DM: Tensor


class Routing(NamedTuple):
    """How experts are chosen by their scores, the sigmoids of the router's logits, plus a bias.

    The `chosen` best are taken, out of the `open_groups` of `groups` equal groups whose two best have the largest sum.
    Their weights are their scores, divided by the sum of these if `normalised`, times `scale`.
    """

    chosen: int
    groups: int
    open_groups: int
    normalised: bool
    scale: float


class ExpertsLayer(NamedTuple):
    """A shared expert plus the chosen ones of N, all of them squared-ReLU networks. With the latent matrices the chosen
    ones work on `latent_in` x, and `latent_out` of their sum is added. The bias is in float32 in every precision."""

    norm_D: Tensor
    router_ND: Tensor
    router_bias_N: Tensor
    up_proj_NMX: Tensor
    down_proj_NXM: Tensor
    shared_up_SD: Tensor
    shared_down_DS: Tensor
    latent_in_XD: Tensor | None
    latent_out_DX: Tensor | None
    routing: Routing


Layer = Mamba2Layer | AttentionLayer | FeedForwardLayer | ExpertsLayer


class Network(NamedTuple):
    embeddings_VD: Tensor
    layers: tuple[Layer, ...]
    norm_D: Tensor
    head_VD: Tensor
    eps: float
    """Of all norms."""

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All weights by name: `embeddings_VD`, `layers.3.q_proj_QD`."""
        yield from ((name, getattr(self, name)) for name in ("embeddings_VD", "norm_D", "head_VD"))
        for index, layer in enumerate(self.layers):
            yield from ((f"layers.{index}.{name}", tensor) for name, tensor in _tensors(layer))

    def check(self) -> None:
        """Raises ValueError that names the tensor, or the layer, whose type or shape does not fit the others."""
        dtype = self.embeddings_VD.dtype
        sizes = dict(zip("VD", self.embeddings_VD.shape, strict=True))
        for name, tensor in self.tensors():
            expected = torch.float32 if name.endswith("router_bias_N") else dtype
            if tensor.dtype != expected:
                raise ValueError(f"{name} is of {tensor.dtype}, expected {expected}")
        _check_axes("", [("norm_D", self.norm_D), ("head_VD", self.head_VD)], sizes)
        for index, layer in enumerate(self.layers):
            known = {"D": sizes["D"]}
            _check_axes(f"layers.{index}.", _tensors(layer), known)
            if not _fits(layer, known):
                raise ValueError(f"layers.{index}: the sizes {known} do not fit one another")


def _tensors(layer: Layer) -> list[tuple[str, Tensor]]:
    parts = layer._asdict()
    if isinstance(layer, Mamba2Layer):
        parts |= layer.weights._asdict()
    return [(name, part) for name, part in parts.items() if isinstance(part, Tensor)]


def _check_axes(prefix: str, tensors: list[tuple[str, Tensor]], known: dict[str, int]) -> None:
    """Hold shapes against the letters behind the names, the first tensor with a letter says how long that axis is."""
    for name, tensor in tensors:
        axes = name.rpartition("_")[2]
        shape = tuple(tensor.shape)
        if len(axes) != len(shape) or any(known.setdefault(*pair) != pair[1] for pair in zip(axes, shape, strict=True)):
            expected = tuple(known.get(axis, axis) for axis in axes)
            raise ValueError(f"{prefix}{name} has shape {shape}, expected {expected}")


def _fits(layer: Layer, sizes: dict[str, int]) -> bool:
    """Whether the sizes that no two tensors share fit."""
    if isinstance(layer, Mamba2Layer):
        inner, heads, groups = sizes["I"], sizes["H"], layer.settings.groups
        channels = inner + 2 * groups * layer.settings.state_size
        divisible = inner % heads == 0 and heads % groups == 0
        return divisible and sizes["C"] == channels and sizes["E"] == inner + channels + heads
    if isinstance(layer, AttentionLayer):
        heads, kv_heads = sizes["Q"] / layer.head_dim, sizes["J"] / layer.head_dim
        whole = kv_heads.is_integer() and (heads / kv_heads).is_integer()
        return whole and sizes.get("A", layer.head_dim) == layer.head_dim
    if isinstance(layer, ExpertsLayer):
        routing, experts = layer.routing, sizes["N"]
        if (layer.latent_in_XD is None) != (layer.latent_out_DX is None):
            return False
        if layer.latent_in_XD is None and sizes["X"] != sizes["D"]:
            return False
        size = experts // routing.groups
        grouped = experts % routing.groups == 0 and size >= 2 and routing.open_groups <= routing.groups
        return grouped and routing.chosen <= routing.open_groups * size
    return True
