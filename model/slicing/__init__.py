"""Smaller networks cut out of larger ones: sort by importance, then take prefixes.

Every smaller network is described by `IndexMaps`: which channel, head, expert and layer of the parent each of its own
is. One function, `source_of`, says which rows and columns of which parent's parameter each of its parameters is;
sorting (all of the indices, permuted), slicing (a prefix of them) and pruning (both composed) differ in the maps alone,
and need one parent tensor at a time.
"""

from model.slicing.axes import (
    EXPERT_AXES,
    GROUPS,
    LAYER_AXES,
    WIDTH_AXES,
    axis_size,
    layer_axes,
    num_groups,
    score_shape,
    width_axes,
)
from model.slicing.gather import Source, gather_tensor, source_of
from model.slicing.maps import IndexMaps, LayerMap, child_config, identity_maps, prefix_maps, validate_target
from model.slicing.networks import gather_model, layer_view, slice_model, sort_model
from model.slicing.sort import WidthScores, sort_maps
from model.slicing.stream import differing, slice_checkpoint, stored_tensors

__all__ = [
    "EXPERT_AXES",
    "GROUPS",
    "LAYER_AXES",
    "WIDTH_AXES",
    "IndexMaps",
    "LayerMap",
    "Source",
    "WidthScores",
    "axis_size",
    "child_config",
    "differing",
    "gather_model",
    "gather_tensor",
    "identity_maps",
    "layer_axes",
    "layer_view",
    "num_groups",
    "prefix_maps",
    "score_shape",
    "slice_checkpoint",
    "slice_model",
    "sort_maps",
    "sort_model",
    "source_of",
    "stored_tensors",
    "validate_target",
    "width_axes",
]
