"""From scores to an order: channels over their axis, heads and experts inside their group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.config import HybridConfig
from model.slicing.axes import axis_size, layer_axes, num_groups, score_shape
from model.slicing.maps import IndexMaps, LayerMap


@dataclass(frozen=True, kw_only=True)
class WidthScores:
    """Importance of each channel, head and expert, higher is kept longer. Axes that are absent keep their order.

    `layers[i]` has a score tensor per axis of the layer, of `score_shape`; so has `mtp[i]`.
    """

    d_model: Tensor | None = None
    layers: Sequence[Mapping[str, Tensor]] = field(default_factory=tuple)
    mtp: Sequence[Mapping[str, Tensor]] = field(default_factory=tuple)


def sort_maps(config: HybridConfig, scores: WidthScores) -> IndexMaps:
    """The permutation that puts the most important first: channels over their axis, heads and experts inside their
    group.

    Equal scores keep their order. Raises ValueError for scores of the wrong shape or with NaN.
    """
    return IndexMaps(
        d_model=_order(config, "d_model", scores.d_model, "d_model"),
        layers=_layers(config, config.pattern, scores.layers, "layer"),
        mtp=_layers(config, config.mtp_pattern, scores.mtp, "mtp layer"),
    )


def _layers(
    config: HybridConfig, pattern: str, scores: Sequence[Mapping[str, Tensor]], what: str
) -> tuple[LayerMap, ...]:
    if scores and len(scores) != len(pattern):
        raise ValueError(f"scores of {len(scores)} {what}s for a network of {len(pattern)}")
    layers = []
    for index, letter in enumerate(pattern):
        given = scores[index] if scores else {}
        known = layer_axes(config, letter)
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(f"{what} {index} ({letter!r}) has no axis {unknown}")
        axes: dict[str, tuple[int, ...]] = {}
        for axis in known:
            order = _order(config, axis, given.get(axis), f"{what} {index}: {axis}")
            if axis == "moe_intermediate_size":
                size = axis_size(config, axis)
                order = tuple(c for e in axes["n_routed_experts"] for c in order[e * size : (e + 1) * size])
            axes[axis] = order
        layers.append(LayerMap(parent=index, axes=axes))
    return tuple(layers)


def _order(config: HybridConfig, axis: str, scores: Tensor | None, where: str) -> tuple[int, ...]:
    shape = score_shape(config, axis)
    if scores is None:
        return tuple(range(torch.Size(shape).numel()))
    if tuple(scores.shape) != shape:
        raise ValueError(f"{where}: scores have shape {tuple(scores.shape)}, expected {shape}")
    if bool(scores.isnan().any()):
        raise ValueError(f"{where}: a score is not a number")
    groups = shape[0] if len(shape) == 2 else num_groups(config, axis)
    ranked = scores.reshape(groups, -1).sort(dim=-1, descending=True, stable=True).indices
    starts = torch.arange(groups, device=ranked.device)[:, None] * ranked.shape[1]
    return tuple((ranked + starts).flatten().tolist())
