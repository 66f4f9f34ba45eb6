"""Checkpoints in the `nemotron_h` layout: safetensors, config.json, generation_config.json.

transformers and vLLM read them as they are. The bytes depend on the weights and the configuration alone. Names are
those of the network's state dict, but that each matrix of a routed expert, stacked in memory, has one of its own:
`mixer.experts.up_proj` (N, M, X) is `mixer.experts.0.up_proj.weight` (M, X) and so on.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.config import HybridConfig
from model.hf_config import read_config, to_hf
from model.hybrid import FLOAT32_PARAMETERS, HybridLM

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
OUTPUT = "lm_head.weight"
EMBEDDINGS = "backbone.embeddings.weight"
CORRECTION_BIAS = "e_score_correction_bias"
STACKED = re.compile(r"(.*\.experts)\.(up_proj|down_proj)")


class CheckpointError(ValueError):
    """A checkpoint that does not hold exactly the network that its configuration describes."""


def save_checkpoint(
    model: HybridLM, folder: Path | str, *, tokenizer_files: Iterable[Path] = (), max_shard_size: int = 5 * 10**9
) -> None:
    """Write the model to `folder` (created if absent), each file whole or not at all, config.json last.

    Weights above `max_shard_size` bytes are cut into numbered shards with an index. A tied output projection is written
    out as well, because not every reader ties it. `tokenizer_files` are copied under their own names. Raises
    ValueError if the folder already holds weights files of another checkpoint.
    """
    folder = Path(folder)
    tensors = disk_tensors(model)
    shards = make_shards(folder, {name: tensor.nbytes for name, tensor in tensors.items()}, max_shard_size)
    for name, shard in shards.items():
        # A clone each: safetensors refuses tensors that share memory, as a tied projection does.
        contents = {key: tensors[key].to("cpu", copy=True).contiguous() for key in shard}
        partial = folder / f".{name}.tmp"
        save_file(contents, partial, metadata={"format": "pt"})
        partial.chmod(0o644)  # safetensors leaves it readable by its owner alone
        os.replace(partial, folder / name)
    dtype = str(model.backbone.embeddings.weight.dtype).removeprefix("torch.")
    write_description(folder, shards, tensors, model.config, dtype=dtype, tokenizer_files=tokenizer_files)


def make_shards(folder: Path, sizes: Mapping[str, int], max_shard_size: int) -> dict[str, list[str]]:
    """Makes the folder. File name -> its tensors: runs of at most `max_shard_size` bytes (a larger one stands alone).

    Raises ValueError if the folder already holds weights files of another checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if runs[-1] and filled + size > max_shard_size:
            runs.append([])
            filled = 0
        runs[-1].append(name)
        filled += size
    names = [f"model-{i:05d}-of-{len(runs):05d}.safetensors" for i in range(1, len(runs) + 1)]
    shards = dict(zip([SINGLE] if len(runs) == 1 else names, runs, strict=True))
    expected = {*shards, *([INDEX] if len(shards) > 1 else [])}
    foreign = {path.name for path in (*folder.glob("*.safetensors"), *folder.glob(INDEX))} - expected
    if foreign:
        raise ValueError(f"{folder} holds weights of another checkpoint: {', '.join(sorted(foreign))}")
    return shards


def write_description(
    folder: Path,
    shards: Mapping[str, Sequence[str]],
    tensors: Mapping[str, Any],
    config: HybridConfig,
    *,
    dtype: str,
    tokenizer_files: Iterable[Path],
) -> None:
    """Write what stands beside the weights, config.json last. `tensors` are what the files hold, with `nbytes`."""
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in tensors.values())
        weight_map = {key: name for name, shard in shards.items() for key in shard}
        _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    for source in tokenizer_files:
        partial = folder / f".{source.name}.tmp"
        shutil.copyfile(source, partial)
        os.replace(partial, folder / source.name)
    ids = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(folder / "generation_config.json", {"do_sample": False, **ids})
    _write_json(folder / "config.json", to_hf(config, dtype=dtype))


def load_checkpoint(
    folder: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> HybridLM:
    """Read a checkpoint written by this project, by NVIDIA or by transformers.

    Parameters get `dtype`, but for A_log, D and dt_bias, which are in float32 at least. Strict: raises
    FileNotFoundError, CheckpointError or ValueError naming the file and the tensor or key for a missing,
    unexpected or wrongly shaped tensor, a damaged file, and an unsupported network.
    """
    folder = Path(folder)
    config = read_config(folder)
    with torch.device("meta"):
        model = HybridLM(config)
    slots = _slots(model.state_dict())
    loaded: dict[str, Tensor] = {}
    with ExitStack() as stack:
        where = locate_tensors(folder, device, stack)
        check_names(folder, where, slots, tied=config.tie_word_embeddings)
        for name, (path, handle) in where.items():
            target, expert, count, expected = slots[name]
            shape = tuple(handle.get_slice(name).get_shape())
            if shape != expected:
                raise CheckpointError(f"{path}: {name} has shape {shape}, config.json asks for {expected}")
            tensor = handle.get_tensor(name)
            if not tensor.is_floating_point():
                raise CheckpointError(f"{path}: {name} has type {tensor.dtype}, a floating one is needed")
            if target.endswith(CORRECTION_BIAS):
                tensor = tensor.float()
            elif target.rpartition(".")[2] not in FLOAT32_PARAMETERS:
                tensor = tensor.to(dtype)
            if expert is None:
                loaded[target] = tensor
            else:
                if target not in loaded:
                    loaded[target] = tensor.new_empty((count, *expected))
                loaded[target][expert] = tensor
    if config.tie_word_embeddings and OUTPUT in loaded and not torch.equal(loaded[OUTPUT], loaded[EMBEDDINGS]):
        raise CheckpointError(f"{folder}: tie_word_embeddings is true, but {OUTPUT} differs from {EMBEDDINGS}")
    loaded.setdefault(OUTPUT, loaded[EMBEDDINGS])
    model.load_state_dict(loaded, strict=True, assign=True)
    model.tie_weights()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.cast(dtype)


@torch.no_grad()
def average_checkpoints(folders: Sequence[Path | str], weights: Sequence[float]) -> HybridLM:
    """The network whose parameters are sums of those of the checkpoints, each times its weight; summed in float64, in
    the order given, one tensor at a time.

    Raises as `load_checkpoint`, and CheckpointError where a checkpoint is of another network than the first.
    """
    if len(folders) != len(weights) or not folders:
        raise ValueError(f"{len(folders)} checkpoints and {len(weights)} weights")
    first, *others = map(Path, folders)
    model = load_checkpoint(first)
    for folder in others:
        if read_config(folder) != model.config:
            raise CheckpointError(f"{folder / 'config.json'}: is of another network than {first}")
    with ExitStack() as stack:
        readers = [locate_tensors(folder, "cpu", stack) for folder in map(Path, folders)]
        for name, tensor in disk_tensors(model).items():
            total = torch.zeros(tensor.shape, dtype=torch.float64)
            for where, weight, folder in zip(readers, weights, folders, strict=True):
                if name not in where:
                    raise CheckpointError(f"{folder}: missing tensors: {name}")
                found = where[name][1].get_tensor(name)
                if found.shape != tensor.shape:
                    raise CheckpointError(f"{where[name][0]}: {name} has shape {tuple(found.shape)}")
                total += weight * found.double()
            tensor.copy_(total)
    return model


def check_names(folder: Path, where: Mapping[str, Any], expected: Iterable[str], *, tied: bool) -> None:
    """Raise CheckpointError where a checkpoint's tensors are not those of its network; a tied output projection may be
    left out."""
    missing = sorted(set(expected) - where.keys())
    if missing and not (tied and missing == [OUTPUT]):
        raise CheckpointError(
            f"{folder}: missing tensors: {_some(missing)}; a file is incomplete, or config.json is of another network"
        )
    unexpected = sorted(where.keys() - set(expected))
    if unexpected:
        found = [f"{name} in {where[name][0].name}" for name in unexpected]
        raise CheckpointError(f"{folder}: unexpected tensors: {_some(found)}")


def disk_shapes(config: HybridConfig) -> dict[str, tuple[int, ...]]:
    """Name on disk -> shape of every tensor of the network, sorted; no weights are made."""
    with torch.device("meta"):
        model = HybridLM(config)
    return dict(sorted((name, slot[3]) for name, slot in _slots(model.state_dict()).items()))


def disk_tensors(model: HybridLM) -> dict[str, Tensor]:
    """The weights by the names that they have on disk, sorted; views of those in memory."""
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        match = STACKED.fullmatch(name)
        if match is None:
            found[name] = tensor.detach()
        else:
            for expert, matrix in enumerate(tensor.detach().unbind()):
                found[f"{match[1]}.{expert}.{match[2]}.weight"] = matrix
    return dict(sorted(found.items()))


def _slots(state: dict[str, Tensor]) -> dict[str, tuple[str, int | None, int, tuple[int, ...]]]:
    """Name on disk -> name in memory, number of the expert and of experts (None and 1 for all others), shape."""
    found: dict[str, tuple[str, int | None, int, tuple[int, ...]]] = {}
    for name, tensor in state.items():
        match = STACKED.fullmatch(name)
        if match is None:
            found[name] = (name, None, 1, tuple(tensor.shape))
        else:
            for expert in range(len(tensor)):
                on_disk = f"{match[1]}.{expert}.{match[2]}.weight"
                found[on_disk] = (name, expert, len(tensor), tuple(tensor.shape[1:]))
    return found


def locate_tensors(folder: Path, device: torch.device | str, stack: ExitStack) -> dict[str, tuple[Path, Any]]:
    """Tensor name -> its file and an open handle, from the index or the single file."""
    index = folder / INDEX
    if not index.exists():
        path = folder / SINGLE
        handle = _open(path, device, stack)
        return {name: (path, handle) for name in sorted(handle.keys())}
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(weight_map.values()))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: not an index of weights: {error!r}") from error
    where: dict[str, tuple[Path, Any]] = {}
    for file in files:
        path = folder / file
        if path.parent != folder:
            raise CheckpointError(f"{index}: {file!r} is not a plain file name")
        handle = _open(path, device, stack)
        for name in sorted(handle.keys()):
            if weight_map.get(name) != file:
                raise CheckpointError(f"{path}: holds {name}, which {INDEX} does not place there")
            where[name] = (path, handle)
    absent = sorted(set(weight_map) - set(where))
    if absent:
        raise CheckpointError(f"{folder / weight_map[absent[0]]}: missing tensors: {_some(absent)}")
    return where


def _open(path: Path, device: torch.device | str, stack: ExitStack) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        return stack.enter_context(safe_open(path, framework="pt", device=str(device)))
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged or not a safetensors file: {error}") from error


def _some(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _write_json(path: Path, value: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
