"""Take the prefix of a sorted teacher, or sort and take it at once, and write it as a checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from model.config import HybridConfig
from model.hf_config import read_config
from model.slicing import IndexMaps, differing, prefix_maps, slice_checkpoint, stored_tensors
from ops.atomic import read_json, sweep
from ops.errors import InputError
from ops.identity import decode
from ops.importance.scores import Importance
from ops.prune.config import PruneConfig
from ops.prune.target import resolve_layers, resolve_width
from ops.sort_teacher.config import SortConfig
from ops.sort_teacher.maps_file import INDEX_MAPS, read_maps, shape, write_maps
from ops.sort_teacher.run import order, sort_key
from ops.stage import Check, Execution, Inputs, StageResult, one
from ops.train.result import clear_model_errors
from ops.train.vocabulary import tokenizer_files

CHOICE = "choice.json"
"""A search's choice (`ops.search`), a PruneConfig."""


def run(config: PruneConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write the pruned network as a `nemotron_h` checkpoint with the tokenizer's files, and `index_maps.json`: for
    every channel, head, expert and layer that stayed, which of the first teacher's it is.

    Input `sorted_teacher` (of ops.sort_teacher) is sliced as it is; input `teacher`, any checkpoint, is sorted by input
    `importance` on the way. Input `tokenizer` may be absent where the checkpoint brings its own. Weights keep their
    types and go from file to file in blocks, so that the size of the checkpoint does not matter.

    Raises:
        InputError: for a target that the teacher cannot be cut to, an importance of another network, a sorted teacher
            in another order than the config asks for.
    """
    source, in_order = teacher_of(inputs)
    tokenizer = one(inputs, "tokenizer") if inputs.get("tokenizer") else source
    if not tokenizer_files(tokenizer):
        raise InputError(f"{tokenizer}: holds no tokenizer; give one as input `tokenizer`")
    with clear_model_errors():
        parent = read_config(source)
    importance = Importance.read(one(inputs, "importance"), parent)
    if inputs.get("search"):
        config = searched(config, one(inputs, "search"))
    target, maps = cut(source, parent, config, importance, in_order=in_order)
    sweep(out)
    with clear_model_errors():
        slice_checkpoint(source, out, maps, tokenizer_files=tokenizer_files(tokenizer))
        wrong = differing(source, out, maps)
        written = stored_tensors(out, target)
    whole = write_maps(out, source, parent, target, maps)

    shared = {"lm_head.weight"} if target.tie_word_embeddings else set()
    found = sum(t.numel for n, t in written.items() if n not in shared and not n.endswith("correction_bias"))
    return StageResult(
        counts={
            "parameters": found,
            "teacher_parameters": parent.num_params(),
            "layers": target.num_layers,
        },
        checks=[_parameter_count(target, found), _reloads(wrong), _smaller(parent, target)],
        summary=_summary(parent, target, maps, whole),
    )


def teacher_of(inputs: Inputs) -> tuple[Path, bool]:
    """The checkpoint that is cut, and whether it is the sorted teacher.

    Raises:
        InputError: when there is none, or more than one.
    """
    if inputs.get("sorted_teacher") and inputs.get("teacher"):
        raise InputError("inputs: give `teacher` or `sorted_teacher`, not both")
    in_order = bool(inputs.get("sorted_teacher"))
    return one(inputs, "sorted_teacher" if in_order else "teacher"), in_order


def cut(
    source: Path, parent: HybridConfig, config: PruneConfig, importance: Importance, *, in_order: bool
) -> tuple[HybridConfig, IndexMaps]:
    """The pruned network's configuration, and the maps that cut it out of the checkpoint `source`.

    Raises:
        InputError: for a target that the teacher cannot be cut to, a sorted teacher (`in_order`) in another order than
            the config asks for.
    """
    if not in_order:
        return plan(parent, config, importance)
    target, layers = resolve(parent, config, importance)
    _check_order(source, sort_of(config, parent, target))
    return target, prefix_maps(parent, target, layers)


def searched(config: PruneConfig, directory: Path) -> PruneConfig:
    """The choice of a search, in place of a config that leaves it open.

    Raises:
        InputError: for a config that says something itself.
    """
    if config != PruneConfig():
        raise InputError("PruneConfig: a searched network is cut as the search chose; leave the config at its defaults")
    path = directory / CHOICE
    if not path.exists():
        raise InputError(f"{path}: no such file; input `search` is the --out of `python -m ops.search`")
    return decode(PruneConfig, read_json(path), str(path))


def resolve(parent: HybridConfig, config: PruneConfig, importance: Importance) -> tuple[HybridConfig, list[int]]:
    """The pruned network's configuration, and the teacher's layers that stay.

    Raises:
        InputError: for a target that the teacher cannot be cut to.
    """
    wide = resolve_width(parent, config.width)
    layers = resolve_layers(parent.pattern, config.depth, importance.removal_order(config.layer_score))
    depths = parent.num_nextn_predict_layers if config.multi_token_prediction else 0
    pattern = "".join(parent.pattern[index] for index in layers)
    try:
        target = replace(wide, pattern=pattern, num_nextn_predict_layers=depths)
        prefix_maps(parent, target, layers)
    except ValueError as error:
        raise InputError(f"PruneConfig: {error}") from error
    return target, layers


def plan(parent: HybridConfig, config: PruneConfig, importance: Importance) -> tuple[HybridConfig, IndexMaps]:
    """The pruned network's configuration, and which of the unsorted teacher's channels, heads, experts and layers it is
    made of.

    Raises:
        InputError: for a target that the teacher cannot be cut to.
    """
    target, layers = resolve(parent, config, importance)
    sorted_maps = order(parent, sort_of(config, parent, target), importance)
    return target, sorted_maps.then(prefix_maps(parent, target, layers))


def sort_of(config: PruneConfig, parent: HybridConfig, target: HybridConfig) -> SortConfig:
    """The order that a student asks for: where heads lose channels, the x score ranks them by those that stay."""
    cut = config.mamba_head_score == "x_score" and target.mamba_head_dim < parent.mamba_head_dim
    return SortConfig(
        mamba_head_score=config.mamba_head_score,
        mamba_head_dim=target.mamba_head_dim if cut else None,
        expert_score=config.expert_score,
    )


def _check_order(sorted_teacher: Path, wanted: SortConfig) -> None:
    found = (read_maps(sorted_teacher) or {}).get("sort")
    if found is None:
        raise InputError(
            f"{sorted_teacher}: is not a sorted teacher, {INDEX_MAPS} does not say in which order; make one with "
            "`python -m ops.sort_teacher`, or give it as input `teacher`"
        )
    if found != sort_key(wanted):
        raise InputError(
            f"{sorted_teacher}: is sorted by {found}, the student asks for {sort_key(wanted)}; sort a teacher that "
            "way, or give the unsorted one as input `teacher`"
        )


def _parameter_count(target: HybridConfig, found: int) -> Check:
    return Check(
        name="parameter_count",
        passed=found == target.num_params(),
        description="the network has as many parameters as the target's configuration says",
        metadata={"parameters": found, "configured": target.num_params()},
    )


def _reloads(different: list[str]) -> Check:
    return Check(
        name="reloads",
        passed=not different,
        description="the checkpoint has exactly the tensors of its configuration, and they are the teacher's rows and "
        "columns that the maps name",
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


def _summary(parent: HybridConfig, target: HybridConfig, maps: IndexMaps, whole: IndexMaps) -> dict[str, Any]:
    kept = {layer.parent for layer in maps.layers}
    return {
        "teacher": {**shape(parent), "parameters": parent.num_params()},
        "student": {**shape(target), "parameters": target.num_params()},
        "layers_of_first_teacher": [layer.parent for layer in whole.layers],
        "share_of_parameters": target.num_params() / parent.num_params(),
        "layers_removed": [
            {"layer": index, "kind": letter} for index, letter in enumerate(parent.pattern) if index not in kept
        ],
    }
