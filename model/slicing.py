"""Smaller networks cut out of larger ones: sort by importance, then take prefixes.

Every smaller network is described by `IndexMaps`: which channel, head and layer of the parent each of its own is. One
function, `gather_tensor`, reads a parameter through the maps; sorting (all of the indices, permuted), slicing (a
prefix of them) and pruning (both composed) differ in the maps alone, and need one parent tensor at a time.

Axes have the names of the configuration's fields:

| axis                  | one order per | what goes with it                                                           |
|-----------------------|---------------|-----------------------------------------------------------------------------|
| `d_model`             | network       | embeddings, norms, rows or columns of every projection, output projection   |
| `intermediate_size`   | `-` layer     | rows of up_proj, columns of down_proj                                       |
| `num_attention_heads` | `*` layer     | rows of q_proj, columns of o_proj, inside the head's key-value group        |
| `mamba_num_heads`     | `M` layer     | rows z, x, dt of in_proj, convolution of x, A_log, D, dt_bias, gated norm,  |
|                       |               | columns of out_proj, inside the head's B/C group                            |
| `mamba_head_dim`      | `M` layer     | the same channels of every head: z, x, convolution, gated norm, out_proj    |

Heads of a group share B and C (keys and values) and the statistics of the gated norm, so they may trade places with
each other only: every group keeps the same number of heads. Key-value heads, `head_dim`, `n_groups` and
`ssm_state_size` stay (Minitron-SSM, arXiv 2504.11409, section 2.2). Of `E` layers only `d_model` is cut: experts, their
number and widths stay. There are no rules for multi-token prediction.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from model.config import HybridConfig
from model.hybrid import HybridLM

LAYER_AXES: dict[str, tuple[str, ...]] = {
    "M": ("mamba_num_heads", "mamba_head_dim"),
    "-": ("intermediate_size",),
    "*": ("num_attention_heads",),
    "E": (),
}
WIDTH_AXES = ("d_model", "intermediate_size", "num_attention_heads", "mamba_num_heads", "mamba_head_dim")
GROUPS = {"num_attention_heads": "num_key_value_heads", "mamba_num_heads": "n_groups"}

# What each dimension of a parameter runs over; None: nothing that is cut.
GLOBAL_PARAMETERS: dict[str, tuple[str | None, ...]] = {
    "backbone.embeddings.weight": (None, "d_model"),
    "backbone.norm_f.weight": ("d_model",),
    "lm_head.weight": (None, "d_model"),
}
LAYER_PARAMETERS: dict[str, dict[str, tuple[str | None, ...]]] = {
    "M": {
        "norm.weight": ("d_model",),
        "mixer.in_proj.weight": ("in_proj", "d_model"),
        "mixer.conv1d.weight": ("conv", None, None),
        "mixer.conv1d.bias": ("conv",),
        "mixer.A_log": ("mamba_num_heads",),
        "mixer.D": ("mamba_num_heads",),
        "mixer.dt_bias": ("mamba_num_heads",),
        "mixer.norm.weight": ("inner",),
        "mixer.out_proj.weight": ("d_model", "inner"),
    },
    "-": {
        "norm.weight": ("d_model",),
        "mixer.up_proj.weight": ("intermediate_size", "d_model"),
        "mixer.down_proj.weight": ("d_model", "intermediate_size"),
    },
    "*": {
        "norm.weight": ("d_model",),
        "mixer.q_proj.weight": ("query", "d_model"),
        "mixer.k_proj.weight": (None, "d_model"),
        "mixer.v_proj.weight": (None, "d_model"),
        "mixer.o_proj.weight": ("d_model", "query"),
        "mixer.q_norm.weight": (None,),
        "mixer.k_norm.weight": (None,),
        "mixer.v_norm.weight": (None,),
    },
    "E": {
        "norm.weight": ("d_model",),
        "mixer.gate.weight": (None, "d_model"),
        "mixer.gate.e_score_correction_bias": (None,),
        "mixer.experts.up_proj": (None, None, "expert"),
        "mixer.experts.down_proj": (None, "expert", None),
        "mixer.shared_experts.up_proj.weight": (None, "d_model"),
        "mixer.shared_experts.down_proj.weight": ("d_model", None),
        "mixer.fc1_latent_proj.weight": (None, "d_model"),
        "mixer.fc2_latent_proj.weight": ("d_model", None),
    },
}
LAYER_NAME = re.compile(r"backbone\.layers\.(\d+)\.(.+)")


@dataclass(frozen=True, kw_only=True)
class LayerMap:
    """One layer of a smaller network: the parent's layer it comes from, and per axis the parent's indices."""

    parent: int
    axes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class IndexMaps:
    """Which channel, head and layer of the parent each one of a smaller (or permuted) network is."""

    d_model: tuple[int, ...]
    layers: tuple[LayerMap, ...]

    def then(self, child: "IndexMaps") -> "IndexMaps":
        """The maps of a network that `child` cuts out of the network that these maps cut out."""
        layers = []
        for layer in child.layers:
            own = self.layers[layer.parent]
            axes = {axis: tuple(own.axes[axis][i] for i in kept) for axis, kept in layer.axes.items()}
            layers.append(LayerMap(parent=own.parent, axes=axes))
        return IndexMaps(d_model=tuple(self.d_model[i] for i in child.d_model), layers=tuple(layers))

    def to_json(self) -> dict[str, Any]:
        """Plain data: lists of the parent's indices."""
        layers = [
            {"parent": layer.parent, **{axis: list(kept) for axis, kept in sorted(layer.axes.items())}}
            for layer in self.layers
        ]
        return {"d_model": list(self.d_model), "layers": layers}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "IndexMaps":
        """The inverse of `to_json`."""
        layers = tuple(
            LayerMap(parent=layer["parent"], axes={k: tuple(v) for k, v in layer.items() if k != "parent"})
            for layer in data["layers"]
        )
        return cls(d_model=tuple(data["d_model"]), layers=layers)


@dataclass(frozen=True, kw_only=True)
class WidthScores:
    """Importance of each channel and head, higher is kept longer. Axes that are absent keep their order.

    `layers[i]` has a score vector per axis of LAYER_AXES[pattern[i]], as long as the configuration's field.
    """

    d_model: Tensor | None = None
    layers: Sequence[Mapping[str, Tensor]] = field(default_factory=tuple)


def validate_target(parent: HybridConfig, target: HybridConfig, layers: Sequence[int] | None = None) -> None:
    """Whether `target` can be cut out of `parent` by keeping its `layers` (None: all).

    Raises ValueError that names the field: an axis wider than the parent's, any other field that differs, layers out
    of order or that do not spell the target's pattern.
    """
    for axis in WIDTH_AXES:
        if getattr(target, axis) > getattr(parent, axis):
            raise ValueError(f"{axis}: {getattr(target, axis)} is more than the parent's {getattr(parent, axis)}")
    expected = replace(parent, pattern=target.pattern, **{axis: getattr(target, axis) for axis in WIDTH_AXES})
    for name, value in vars(expected).items():
        if getattr(target, name) != value:
            raise ValueError(f"{name}: {getattr(target, name)!r} differs from the parent's {value!r}; it is not cut")
    kept = range(parent.num_layers) if layers is None else layers
    if any(not 0 <= index < parent.num_layers for index in kept) or sorted(set(kept)) != list(kept):
        raise ValueError(f"layers: {list(kept)} must ascend within the parent's {parent.num_layers} layers")
    spelled = "".join(parent.pattern[index] for index in kept)
    if spelled != target.pattern:
        raise ValueError(f"pattern: the kept layers {list(kept)} spell {spelled!r}, the target has {target.pattern!r}")


def identity_maps(config: HybridConfig) -> IndexMaps:
    """The maps of a network to itself."""
    return prefix_maps(config, config)


def prefix_maps(parent: HybridConfig, target: HybridConfig, layers: Sequence[int] | None = None) -> IndexMaps:
    """The maps that keep the first of everything: the first channels, the first heads of every group, and `layers`.

    Raises ValueError as `validate_target`.
    """
    validate_target(parent, target, layers)
    kept = range(parent.num_layers) if layers is None else layers
    return IndexMaps(
        d_model=tuple(range(target.d_model)),
        layers=tuple(
            LayerMap(
                parent=index,
                axes={axis: _prefix(parent, target, axis) for axis in LAYER_AXES[parent.pattern[index]]},
            )
            for index in kept
        ),
    )


def _prefix(parent: HybridConfig, target: HybridConfig, axis: str) -> tuple[int, ...]:
    groups = getattr(parent, GROUPS[axis]) if axis in GROUPS else 1
    stride, kept = getattr(parent, axis) // groups, getattr(target, axis) // groups
    return tuple(group * stride + rank for group in range(groups) for rank in range(kept))


def sort_maps(config: HybridConfig, scores: WidthScores) -> IndexMaps:
    """The permutation that puts the most important first: channels over their axis, heads inside their group.

    Equal scores keep their order. Raises ValueError for a score vector of the wrong length or with NaN.
    """
    if scores.layers and len(scores.layers) != config.num_layers:
        raise ValueError(f"scores of {len(scores.layers)} layers for a network of {config.num_layers}")
    layers = []
    for index, letter in enumerate(config.pattern):
        given = scores.layers[index] if scores.layers else {}
        unknown = sorted(set(given) - set(LAYER_AXES[letter]))
        if unknown:
            raise ValueError(f"layer {index} ({letter!r}) has no axis {unknown}")
        axes = {axis: _order(config, axis, given.get(axis), f"layer {index}: {axis}") for axis in LAYER_AXES[letter]}
        layers.append(LayerMap(parent=index, axes=axes))
    return IndexMaps(d_model=_order(config, "d_model", scores.d_model, "d_model"), layers=tuple(layers))


def _order(config: HybridConfig, axis: str, scores: Tensor | None, where: str) -> tuple[int, ...]:
    size = getattr(config, axis)
    if scores is None:
        return tuple(range(size))
    if tuple(scores.shape) != (size,):
        raise ValueError(f"{where}: scores have shape {tuple(scores.shape)}, expected ({size},)")
    if bool(scores.isnan().any()):
        raise ValueError(f"{where}: a score is not a number")
    groups = getattr(config, GROUPS[axis]) if axis in GROUPS else 1
    ranked = scores.reshape(groups, -1).sort(dim=-1, descending=True, stable=True).indices
    return tuple((ranked + torch.arange(groups)[:, None] * (size // groups)).flatten().tolist())


def child_config(parent: HybridConfig, maps: IndexMaps) -> HybridConfig:
    """The configuration of the network that the maps describe.

    Raises ValueError where layers of a kind differ in width, or as HybridConfig for sizes that do not fit.
    """
    sizes: dict[str, int] = {"d_model": len(maps.d_model)}
    for layer in maps.layers:
        for axis, kept in layer.axes.items():
            if sizes.setdefault(axis, len(kept)) != len(kept):
                raise ValueError(f"{axis}: layers of different width ({sizes[axis]} and {len(kept)})")
    return replace(parent, pattern="".join(parent.pattern[layer.parent] for layer in maps.layers), **sizes)


def gather_tensor(name: str, read: Mapping[str, Tensor], parent: HybridConfig, maps: IndexMaps) -> Tensor:
    """Parameter `name` of the smaller network, from the parent's parameters `read` (one of them is looked up).

    Raises ValueError for a parameter that the tables above do not know.
    """
    match = LAYER_NAME.fullmatch(name)
    if match is None:
        source, layer, dims = name, None, GLOBAL_PARAMETERS.get(name)
    else:
        layer = maps.layers[int(match[1])]
        source = f"backbone.layers.{layer.parent}.{match[2]}"
        dims = LAYER_PARAMETERS[parent.pattern[layer.parent]].get(match[2])
    if dims is None:
        raise ValueError(f"no rule to slice parameter {name}")
    tensor = read[source]
    if tensor.ndim != len(dims):
        raise ValueError(f"{source} has {tensor.ndim} dimensions, expected {len(dims)}")
    tensor = tensor.detach()
    if not any(dims):
        return tensor.clone()
    for dim, axis in enumerate(dims):
        if axis is not None:
            tensor = tensor.index_select(dim, _kept(axis, parent, maps, layer).to(tensor.device))
    return tensor


def _kept(axis: str, parent: HybridConfig, maps: IndexMaps, layer: LayerMap | None) -> Tensor:
    """The parent's indices along one dimension of a parameter."""
    if axis == "d_model" or (axis == "expert" and parent.moe_latent_size is None):
        return torch.tensor(maps.d_model)
    if axis == "expert":
        return torch.arange(parent.expert_dim)
    assert layer is not None
    if axis in layer.axes:
        return torch.tensor(layer.axes[axis])
    if axis == "query":
        heads = torch.tensor(layer.axes["num_attention_heads"])
        return (heads[:, None] * parent.head_dim + torch.arange(parent.head_dim)).flatten()
    heads, channels = (torch.tensor(layer.axes[name]) for name in LAYER_AXES["M"])
    inner = (heads[:, None] * parent.mamba_head_dim + channels).flatten()
    if axis == "inner":
        return inner
    groups = torch.arange(2 * parent.n_groups * parent.ssm_state_size)
    conv = torch.cat([inner, parent.d_inner + groups])
    if axis == "conv":
        return conv
    return torch.cat([inner, parent.d_inner + conv, parent.d_inner + parent.conv_dim + heads])


@torch.no_grad()
def gather_model(model: HybridLM, maps: IndexMaps) -> HybridLM:
    """The network that the maps cut out of `model`, with parameters of its own.

    Raises ValueError as `child_config` and `gather_tensor`.
    """
    config = child_config(model.config, maps)
    with torch.device("meta"):
        child = HybridLM(config)
    source = model.state_dict()
    tensors = {name: gather_tensor(name, source, model.config, maps) for name in child.state_dict()}
    child.load_state_dict(tensors, strict=True, assign=True)
    child.tie_weights()
    for parameter in child.parameters():
        parameter.requires_grad_(True)
    return child


def sort_model(model: HybridLM, scores: WidthScores) -> tuple[HybridLM, IndexMaps]:
    """`model` with its channels and heads in order of importance (see `sort_maps`): the same function of its input,
    up to the rounding of sums in another order. Also returns where each came from."""
    maps = sort_maps(model.config, scores)
    return gather_model(model, maps), maps


def slice_model(
    model: HybridLM, target: HybridConfig, layers: Sequence[int] | None = None
) -> tuple[HybridLM, IndexMaps]:
    """The first channels, the first heads of every group, and the named layers (None: all) of `model`.

    Raises ValueError as `validate_target`.
    """
    maps = prefix_maps(model.config, target, layers)
    return gather_model(model, maps), maps


def layer_view(model: HybridLM, layers: Sequence[int]) -> HybridLM:
    """`model` with only the named layers, sharing their parameters."""
    config = replace(model.config, pattern="".join(model.config.pattern[index] for index in layers))
    with torch.device("meta"):
        view = HybridLM(config)
    view.backbone.embeddings = model.backbone.embeddings
    view.backbone.norm_f = model.backbone.norm_f
    view.lm_head = model.lm_head
    for position, index in enumerate(layers):
        view.backbone.layers[position] = model.backbone.layers[index]
    return view.train(model.training)
