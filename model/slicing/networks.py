"""Networks in memory: sorted, sliced, without some of their layers."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from model.checkpoint import STACKED, disk_tensors
from model.config import HybridConfig
from model.hybrid import HybridLM
from model.slicing.gather import gather_tensor
from model.slicing.maps import IndexMaps, child_config, prefix_maps
from model.slicing.sort import WidthScores, sort_maps


@torch.no_grad()
def gather_model(model: HybridLM, maps: IndexMaps) -> HybridLM:
    """The network that the maps cut out of `model`, with parameters of its own.

    Raises ValueError as `child_config` and `gather_tensor`.
    """
    config = child_config(model.config, maps)
    with torch.device("meta"):
        child = HybridLM(config)
    source = disk_tensors(model)

    def gathered(name: str, shape: torch.Size) -> Tensor:
        match = STACKED.fullmatch(name)
        if match is None:
            return gather_tensor(name, source, model.config, maps)
        parts = (f"{match[1]}.{expert}.{match[2]}.weight" for expert in range(shape[0]))
        return torch.stack([gather_tensor(part, source, model.config, maps) for part in parts])

    tensors = {name: gathered(name, tensor.shape) for name, tensor in child.state_dict().items()}
    child.load_state_dict(tensors, strict=True, assign=True)
    child.tie_weights()
    for parameter in child.parameters():
        parameter.requires_grad_(True)
    return child


def sort_model(model: HybridLM, scores: WidthScores) -> tuple[HybridLM, IndexMaps]:
    """`model` with its channels, heads and experts in order of importance (see `sort_maps`): the same function of its
    input, up to the rounding of sums in another order. Also returns where each came from."""
    maps = sort_maps(model.config, scores)
    return gather_model(model, maps), maps


def slice_model(
    model: HybridLM, target: HybridConfig, layers: Sequence[int] | None = None
) -> tuple[HybridLM, IndexMaps]:
    """The first channels, the first heads and experts of every group, and the named layers (None: all) of `model`.

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
    view.mtp = model.mtp
    for position, index in enumerate(layers):
        view.backbone.layers[position] = model.backbone.layers[index]
    return view.train(model.training)
