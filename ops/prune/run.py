"""Sort the teacher by importance, take the prefix, write it as a checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import save_checkpoint
from model.config import HybridConfig
from model.hybrid import HybridLM
from model.slicing import IndexMaps, gather_model, prefix_maps, sort_maps
from ops.atomic import read_json, sweep, write_json
from ops.errors import InputError
from ops.identity import decode
from ops.importance.scores import Importance
from ops.prune.config import PruneConfig
from ops.prune.target import resolve_layers, resolve_width
from ops.stage import Check, Execution, Inputs, StageResult, one
from ops.train.result import load_model
from ops.train.vocabulary import tokenizer_files

INDEX_MAPS = "index_maps.json"
CHOICE = "choice.json"
"""A search's choice (`ops.search`), a PruneConfig."""

SHOWN = ("pattern", "d_model", "intermediate_size", "num_attention_heads", "mamba_num_heads", "mamba_head_dim")


def run(config: PruneConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write the pruned network as a `nemotron_h` checkpoint with the tokenizer's files, and `index_maps.json`: for
    every channel, head and layer that stayed, which of the teacher's it is.

    Raises:
        InputError: for a target that the teacher cannot be cut to, or an importance of another network.
    """
    teacher_path, tokenizer = one(inputs, "teacher"), one(inputs, "tokenizer")
    if not tokenizer_files(tokenizer):
        raise InputError(f"{tokenizer}: holds no tokenizer")
    teacher = load_model(teacher_path, torch.device("cpu"))
    importance = Importance.read(one(inputs, "importance"), teacher.config)
    if "search" in inputs:
        config = searched(config, one(inputs, "search"))
    target, maps = plan(teacher.config, config, importance)
    student = gather_model(teacher, maps)
    sweep(out)
    save_checkpoint(student, out, tokenizer_files=tokenizer_files(tokenizer))
    write_json(out / INDEX_MAPS, {"teacher": shape(teacher.config), "student": shape(target), **maps.to_json()})

    parameters = sum(parameter.numel() for parameter in student.parameters())
    return StageResult(
        counts={
            "parameters": parameters,
            "teacher_parameters": teacher.config.num_params(),
            "layers": target.num_layers,
        },
        checks=[_parameter_count(target, student), _reloads(out, student), _smaller(teacher.config, target)],
        summary=_summary(teacher.config, target, maps),
    )


def searched(config: PruneConfig, directory: Path) -> PruneConfig:
    """The choice of a search, in place of a config that leaves it open.

    Raises:
        InputError: for a config that says something itself.
    """
    if config != PruneConfig():
        raise InputError("PruneConfig: a searched network is cut as the search chose; leave the config at its defaults")
    return decode(PruneConfig, read_json(directory / CHOICE), str(directory / CHOICE))


def plan(parent: HybridConfig, config: PruneConfig, importance: Importance) -> tuple[HybridConfig, IndexMaps]:
    """The pruned network's configuration, and which of the teacher's channels, heads and layers it is made of.

    Raises:
        InputError: for a target that the teacher cannot be cut to.
    """
    wide = resolve_width(parent, config.width)
    layers = resolve_layers(parent.pattern, config.depth, importance.removal_order(config.layer_score))
    target = replace(wide, pattern="".join(parent.pattern[index] for index in layers))
    scores = importance.width_scores(
        parent, mamba_head_score=config.mamba_head_score, mamba_head_dim=target.mamba_head_dim
    )
    return target, sort_maps(parent, scores).then(prefix_maps(parent, target, layers))


def shape(config: HybridConfig) -> dict[str, Any]:
    """The fields that pruning can change."""
    return {name: getattr(config, name) for name in SHOWN}


def _parameter_count(target: HybridConfig, student: HybridLM) -> Check:
    found = sum(parameter.numel() for parameter in student.parameters())
    return Check(
        name="parameter_count",
        passed=found == target.num_params() and student.config == target,
        description="the network has as many parameters as the target's configuration says",
        metadata={"parameters": found, "configured": target.num_params()},
    )


def _reloads(out: Path, student: HybridLM) -> Check:
    again = load_model(out, torch.device("cpu"))
    own = student.state_dict()
    different = [name for name, tensor in again.state_dict().items() if not torch.equal(tensor, own[name])]
    return Check(
        name="reloads",
        passed=again.config == student.config and not different,
        description="the written checkpoint is read back strictly and holds the same weights",
        metadata={"different": different},
    )


def _smaller(parent: HybridConfig, target: HybridConfig) -> Check:
    return Check(
        name="smaller",
        passed=target.num_params() < parent.num_params(),
        description="the network has fewer parameters than its teacher",
        metadata={"share": target.num_params() / parent.num_params()},
        blocking=False,
    )


def _summary(parent: HybridConfig, target: HybridConfig, maps: IndexMaps) -> dict[str, Any]:
    kept = {layer.parent for layer in maps.layers}
    return {
        "teacher": {**shape(parent), "parameters": parent.num_params()},
        "student": {**shape(target), "parameters": target.num_params()},
        "share_of_parameters": target.num_params() / parent.num_params(),
        "layers_removed": [
            {"layer": index, "kind": letter} for index, letter in enumerate(parent.pattern) if index not in kept
        ],
    }
