"""Checkpoints cut on disk: rows and columns go from one set of files to another, and no network is made.

What is in memory at once is a block of a tensor (see model.tensor_file) and the index maps, whatever the size of the
checkpoint. The files are those that `save_checkpoint` would write.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint import (
    EMBEDDINGS,
    OUTPUT,
    CheckpointError,
    check_names,
    disk_shapes,
    locate_tensors,
    make_shards,
    write_description,
)
from model.config import HybridConfig
from model.hf_config import read_config
from model.slicing.gather import source_of
from model.slicing.maps import IndexMaps, child_config
from model.tensor_file import DTYPES, StoredTensor, read_header, write_tensors

UNDER_WAY = ".slicing.json"
SHARD_BYTES = 5 * 10**9


def stored_tensors(folder: Path, config: HybridConfig) -> dict[str, StoredTensor]:
    """Where each tensor of a checkpoint of this network lies.

    Raises FileNotFoundError, CheckpointError or ValueError that name the file and the tensor for a missing, unexpected
    or wrongly shaped tensor and for a damaged file, and where a tied output projection differs from the embeddings.
    """
    expected = disk_shapes(config)
    with ExitStack() as stack:
        where = locate_tensors(folder, "cpu", stack)
        check_names(folder, where, expected, tied=config.tie_word_embeddings)
        files = sorted({path for path, _ in where.values()})
    found = {name: tensor for path in files for name, tensor in read_header(path).items()}
    for name, tensor in found.items():
        if tensor.shape != expected[name]:
            raise CheckpointError(
                f"{tensor.path}: {name} has shape {tensor.shape}, config.json asks for {expected[name]}"
            )
    if config.tie_word_embeddings:
        if OUTPUT in found and not _same(found[OUTPUT].blocks(), found[EMBEDDINGS].blocks()):
            raise CheckpointError(f"{folder}: tie_word_embeddings is true, but {OUTPUT} differs from {EMBEDDINGS}")
        found.setdefault(OUTPUT, found[EMBEDDINGS])
    return found


def slice_checkpoint(
    source: Path,
    out: Path,
    maps: IndexMaps,
    *,
    tokenizer_files: Iterable[Path] = (),
    max_shard_size: int = SHARD_BYTES,
) -> HybridConfig:
    """Write the network that the maps cut out of checkpoint `source` as a checkpoint, and return its configuration.

    Numbers keep their types. Shards that a killed call had finished are kept, if it was given the same. Raises as
    `stored_tensors`, `child_config` and `source_of`, and ValueError where `out` holds weights of another checkpoint.
    """
    parent = read_config(source)
    stored = stored_tensors(source, parent)
    child = child_config(parent, maps)
    sources = {name: source_of(name, parent, maps) for name in disk_shapes(child)}
    layout = {
        name: StoredTensor(path=out, start=0, dtype=stored[sources[name].name].dtype, shape=shape)
        for name, shape in disk_shapes(child).items()
    }
    resumed = _resumed(out, source, maps, max_shard_size)
    shards = make_shards(out, {name: tensor.nbytes for name, tensor in layout.items()}, max_shard_size)
    for file, names in shards.items():
        if resumed and (out / file).exists():
            continue
        blocks = {name: stored[sources[name].name].blocks(sources[name].kept) for name in names}
        write_tensors(out / file, {name: (layout[name].dtype, layout[name].shape) for name in names}, blocks)
    dtype = str(DTYPES[layout[EMBEDDINGS].dtype]).removeprefix("torch.")
    write_description(out, shards, layout, child, dtype=dtype, tokenizer_files=tokenizer_files)
    (out / UNDER_WAY).unlink()
    return child


def differing(source: Path, out: Path, maps: IndexMaps) -> list[str]:
    """Tensors of checkpoint `out` that are not the rows and columns of `source` that the maps name.

    Raises as `stored_tensors`: so `out` has exactly the tensors of its configuration where nothing is raised.
    """
    parent = read_config(source)
    stored, found = stored_tensors(source, parent), stored_tensors(out, read_config(out))
    different = []
    for name, tensor in found.items():
        origin = source_of(name, parent, maps)
        if not _same(tensor.blocks(), stored[origin.name].blocks(origin.kept)):
            different.append(name)
    return different


def _same(left: Iterator[Tensor], right: Iterator[Tensor]) -> bool:
    """Whether two sequences of blocks, cut in whatever way, are the same numbers of the same type."""
    return all(
        a is not None and b is not None and torch.equal(a, b) for a, b in zip_longest(_lines(left), _lines(right))
    )


def _lines(blocks: Iterator[Tensor]) -> Iterator[Tensor]:
    """Bytes in pieces of equal size."""
    size = 2**20
    rest = torch.empty(0, dtype=torch.uint8)
    for block in blocks:
        rest = torch.cat([rest, block.contiguous().view(-1).view(torch.uint8)])
        whole = len(rest) // size * size
        if whole:
            yield from rest[:whole].split(size)
        rest = rest[whole:]
    yield rest


def _resumed(out: Path, source: Path, maps: IndexMaps, max_shard_size: int) -> bool:
    """Whether `out` is the work of a killed call that was given the same; afterwards it is that of this one."""
    out.mkdir(parents=True, exist_ok=True)
    files = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(source.glob("*.safetensors"))]
    given = {"files": files, "maps": maps.to_json(), "shard": max_shard_size}
    identity = hashlib.sha256(json.dumps(given).encode()).hexdigest()
    state = out / UNDER_WAY
    if state.exists() and state.read_text() == identity:
        return True
    partial = state.with_name(f"{state.name}.tmp")
    partial.write_text(identity)
    os.replace(partial, state)
    return False
