"""Index maps: which channel, head, expert and layer of the parent each of a smaller (or permuted) network is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from model.config import HybridConfig
from model.slicing.axes import EXPERT_AXES, FIELDS, WIDTH_AXES, axis_size, layer_axes, num_groups, width_axes


@dataclass(frozen=True, kw_only=True)
class LayerMap:
    """One layer of a smaller network: the parent's layer it comes from, and per axis the parent's indices.

    Those of `moe_intermediate_size` run over all experts that stay, one after the other: channel c of the parent's
    expert e is e * moe_intermediate_size + c.
    """

    parent: int
    axes: Mapping[str, tuple[int, ...]]

    def then(self, child: "LayerMap") -> "LayerMap":
        axes = {axis: tuple(map(self.axes[axis].__getitem__, kept)) for axis, kept in child.axes.items()}
        return LayerMap(parent=self.parent, axes=axes)

    def to_json(self) -> dict[str, Any]:
        return {"parent": self.parent, **{axis: list(kept) for axis, kept in sorted(self.axes.items())}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "LayerMap":
        return cls(parent=data["parent"], axes={k: tuple(v) for k, v in data.items() if k != "parent"})


@dataclass(frozen=True, kw_only=True)
class IndexMaps:
    """Which channel, head, expert and layer of the parent each one of a smaller (or permuted) network is."""

    d_model: tuple[int, ...]
    layers: tuple[LayerMap, ...]
    mtp: tuple[LayerMap, ...] = ()
    """Those of multi-token prediction: all, or none where a network is cut to have none."""

    def then(self, child: "IndexMaps") -> "IndexMaps":
        """The maps of a network that `child` cuts out of the network that these maps cut out."""
        return IndexMaps(
            d_model=tuple(map(self.d_model.__getitem__, child.d_model)),
            layers=tuple(self.layers[layer.parent].then(layer) for layer in child.layers),
            mtp=tuple(self.mtp[layer.parent].then(layer) for layer in child.mtp),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data: lists of the parent's indices."""
        mtp = {"mtp": [layer.to_json() for layer in self.mtp]} if self.mtp else {}
        return {"d_model": list(self.d_model), "layers": [layer.to_json() for layer in self.layers], **mtp}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "IndexMaps":
        """The inverse of `to_json`."""
        layers, mtp = (tuple(map(LayerMap.from_json, data.get(name, ()))) for name in ("layers", "mtp"))
        return cls(d_model=tuple(data["d_model"]), layers=layers, mtp=mtp)


def validate_target(parent: HybridConfig, target: HybridConfig, layers: Sequence[int] | None = None) -> None:
    """Whether `target` can be cut out of `parent` by keeping its `layers` (None: all).

    Raises ValueError that names the field: an axis wider than the parent's, or of layers that are not there; any other
    field that differs; layers out of order or that do not spell the target's pattern. Multi-token prediction stays
    whole or goes (`num_nextn_predict_layers` 0).
    """
    sizes = {axis: getattr(target, axis) for axis in (*WIDTH_AXES, *EXPERT_AXES)}
    present = width_axes(target)
    for axis, size in sizes.items():
        whole = getattr(parent, axis)
        if size == whole:
            continue
        if size is None or whole is None:
            raise ValueError(f"{axis}: {size!r} differs from the parent's {whole!r}; it cannot be made or left out")
        if axis not in present:
            raise ValueError(f"{axis}: is {size} and not the parent's {whole}, but no layer of the target has it")
        if size > whole:
            raise ValueError(f"{axis}: {size} is more than the parent's {whole}")
    mtp = {} if target.num_nextn_predict_layers else {"num_nextn_predict_layers": 0}
    expected = replace(parent, pattern=target.pattern, **mtp, **sizes)
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
    """The maps that keep the first of everything: the first channels, the first heads and experts of every group, and
    `layers`.

    Raises ValueError as `validate_target`.
    """
    validate_target(parent, target, layers)
    kept = range(parent.num_layers) if layers is None else layers
    return IndexMaps(
        d_model=tuple(range(target.d_model)),
        layers=tuple(_prefix_layer(parent, target, index, parent.pattern[index]) for index in kept),
        mtp=tuple(_prefix_layer(parent, target, index, letter) for index, letter in enumerate(target.mtp_pattern)),
    )


def _prefix_layer(parent: HybridConfig, target: HybridConfig, index: int, letter: str) -> LayerMap:
    axes = {}
    for axis in layer_axes(parent, letter):
        groups = num_groups(parent, axis)
        stride, kept = axis_size(parent, axis) // groups, axis_size(target, axis) // groups
        starts = [group * stride for group in range(groups)]
        if axis == "moe_intermediate_size":
            starts = [expert * stride for expert in axes["n_routed_experts"]]
        axes[axis] = tuple(start + rank for start in starts for rank in range(kept))
    return LayerMap(parent=index, axes=axes)


def child_config(parent: HybridConfig, maps: IndexMaps) -> HybridConfig:
    """The configuration of the network that the maps describe.

    Raises ValueError where layers of a kind differ in width, or as HybridConfig for sizes that do not fit.
    """
    sizes: dict[str, int] = {"d_model": len(maps.d_model)}
    for layer in (*maps.layers, *maps.mtp):
        for axis, kept in layer.axes.items():
            field = FIELDS.get(axis, axis)
            size = len(kept)
            if axis == "moe_intermediate_size":
                size //= len(layer.axes["n_routed_experts"])
            if sizes.setdefault(field, size) != size:
                raise ValueError(f"{field}: layers of different width ({sizes[field]} and {size})")
    if len(maps.mtp) != len(parent.mtp_pattern):
        if maps.mtp:
            raise ValueError(f"mtp: {len(maps.mtp)} layers of the parent's {len(parent.mtp_pattern)}; all stay or none")
        sizes["num_nextn_predict_layers"] = 0
    return replace(parent, pattern="".join(parent.pattern[layer.parent] for layer in maps.layers), **sizes)
