"""From maps to tensors: where each parameter of a smaller network comes from, one parent tensor at a time."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import HybridConfig
from model.slicing.axes import EXPERT_NAME, GLOBAL_PARAMETERS, LAYER_NAME, LAYER_PARAMETERS, MTP_PARAMETERS, Dims
from model.slicing.maps import IndexMaps, LayerMap


@dataclass(frozen=True)
class Source:
    """A parameter of a smaller network: the parent's of which it is part, and the parent's indices along each of its
    dimensions (None: all of them)."""

    name: str
    kept: tuple[Tensor | None, ...]


def source_of(name: str, parent: HybridConfig, maps: IndexMaps) -> Source:
    """Where parameter `name` of the smaller network comes from. Names are those on disk (see model.checkpoint).

    Raises ValueError for a parameter that the tables of model.slicing.axes do not know.
    """
    match = LAYER_NAME.fullmatch(name)
    if match is None:
        dims = GLOBAL_PARAMETERS.get(name)
        if dims is None:
            raise ValueError(f"no rule to slice parameter {name}")
        return Source(name, tuple(_kept(axis, parent, maps, None, None) for axis in dims))
    part, index, rest = match[1], int(match[2]), match[3]
    layers, pattern = (maps.layers, parent.pattern) if part == "backbone" else (maps.mtp, parent.mtp_pattern)
    if index >= len(layers):
        raise ValueError(f"no rule to slice parameter {name}: the maps have {len(layers)} layers")
    layer = layers[index]
    expert, found = EXPERT_NAME.fullmatch(rest), None
    if expert is not None:
        found = layer.axes.get("n_routed_experts", ())[int(expert[1])]
        rest, own = f"mixer.experts.{found}.{expert[2]}.weight", f"mixer.experts.{expert[2]}.weight"
    else:
        own = rest
    dims = _layer_dims(part, pattern[layer.parent], own)
    if dims is None:
        raise ValueError(f"no rule to slice parameter {name}")
    position = None if expert is None or found is None else (int(expert[1]), found)
    kept = tuple(_kept(axis, parent, maps, layer, position) for axis in dims)
    return Source(f"{part}.layers.{layer.parent}.{rest}", kept)


def _layer_dims(part: str, letter: str, name: str) -> Dims | None:
    dims = LAYER_PARAMETERS[letter].get(name)
    return MTP_PARAMETERS.get(name) if dims is None and part == "mtp" else dims


def gather_tensor(name: str, read: Mapping[str, Tensor], parent: HybridConfig, maps: IndexMaps) -> Tensor:
    """Parameter `name` of the smaller network, from the parent's parameters `read` (one of them is looked up).

    Raises ValueError as `source_of`, and for a tensor with another number of dimensions.
    """
    source = source_of(name, parent, maps)
    tensor = read[source.name].detach()
    if tensor.ndim != len(source.kept):
        raise ValueError(f"{source.name} has {tensor.ndim} dimensions, expected {len(source.kept)}")
    if all(kept is None for kept in source.kept):
        return tensor.clone()
    for dim, kept in enumerate(source.kept):
        if kept is not None:
            tensor = tensor.index_select(dim, kept.to(tensor.device))
    return tensor


def _kept(
    axis: str | None, parent: HybridConfig, maps: IndexMaps, layer: LayerMap | None, expert: tuple[int, int] | None
) -> Tensor | None:
    """The parent's indices along one dimension of a parameter; `expert` is the number of a routed expert in the smaller
    network and in the parent."""
    if axis is None:
        return None
    if axis in ("expert_input", "expert_output"):
        axis = "d_model" if parent.moe_latent_size is None else axis.replace("expert", "moe_latent")
    if axis == "d_model":
        return torch.tensor(maps.d_model)
    if axis == "joint":
        d_model = torch.tensor(maps.d_model)
        return torch.cat([d_model, parent.d_model + d_model])
    assert layer is not None
    if expert is not None and axis == "moe_intermediate_size":
        own, theirs = expert
        size = len(layer.axes[axis]) // len(layer.axes["n_routed_experts"])
        channels = torch.tensor(layer.axes[axis][own * size : (own + 1) * size])
        channels -= theirs * parent.moe_intermediate_size
        if bool(((channels < 0) | (channels >= parent.moe_intermediate_size)).any()):
            raise ValueError(f"moe_intermediate_size: the map of expert {own} leaves the parent's expert {theirs}")
        return channels
    if axis in layer.axes:
        return torch.tensor(layer.axes[axis])
    if axis == "query":
        heads = torch.tensor(layer.axes["num_attention_heads"])
        return (heads[:, None] * parent.head_dim + torch.arange(parent.head_dim)).flatten()
    heads, channels = (torch.tensor(layer.axes[name]) for name in ("mamba_num_heads", "mamba_head_dim"))
    inner = (heads[:, None] * parent.mamba_head_dim + channels).flatten()
    if axis == "inner":
        return inner
    groups = torch.arange(2 * parent.n_groups * parent.ssm_state_size)
    conv = torch.cat([inner, parent.d_inner + groups])
    if axis == "conv":
        return conv
    return torch.cat([inner, parent.d_inner + conv, parent.d_inner + parent.conv_dim + heads])
