"""`index_maps.json`: which channel, head, expert and layer of the first teacher each of a checkpoint's is.

It stands beside the weights of whatever was sorted or cut, and goes with them through distillation: the maps of a
student of a student lead back to the first teacher.
"""

from pathlib import Path
from typing import Any

from model.config import HybridConfig
from model.slicing import IndexMaps
from ops.atomic import read_json, write_json
from ops.errors import InputError

INDEX_MAPS = "index_maps.json"
SHOWN = (
    "pattern",
    "d_model",
    "intermediate_size",
    "num_attention_heads",
    "mamba_num_heads",
    "mamba_head_dim",
    "n_routed_experts",
    "moe_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "moe_latent_size",
    "num_nextn_predict_layers",
)
EXPERT_FIELDS = frozenset(SHOWN[6:10])


def shape(config: HybridConfig) -> dict[str, Any]:
    """The fields that pruning can change, of those that the network has."""
    absent = set() if config.has_experts else set(EXPERT_FIELDS)
    absent |= set() if config.num_nextn_predict_layers else {"num_nextn_predict_layers"}
    return {name: getattr(config, name) for name in SHOWN if name not in absent}


def read_maps(directory: Path) -> dict[str, Any] | None:
    """The file's contents; None where the checkpoint was not cut out of another."""
    path = directory / INDEX_MAPS
    return read_json(path) if path.exists() else None


def write_maps(
    out: Path, source: Path, parent: HybridConfig, child: HybridConfig, maps: IndexMaps, **more: Any
) -> IndexMaps:
    """Write the file for a network that `maps` cut out of checkpoint `source`; returns the maps to the first teacher.

    Raises:
        InputError: when the maps beside the source are of another network.
    """
    before = read_maps(source)
    teacher = shape(parent)
    if before is not None:
        if before["student"] != teacher:
            raise InputError(f"{source / INDEX_MAPS}: is of a network of another shape than the checkpoint beside it")
        maps = IndexMaps.from_json(before).then(maps)
        teacher = before["teacher"]
    write_json(out / INDEX_MAPS, {"teacher": teacher, "student": shape(child), **maps.to_json(), **more})
    return maps
