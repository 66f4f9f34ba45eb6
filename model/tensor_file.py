"""safetensors files read by rows and written tensor by tensor, so that neither a file nor a tensor has to fit into
memory: plain reads and writes, no memory map, whose pages would count.

The format: 8 bytes with the length of the header, the header in JSON (name -> dtype, shape, offsets behind the header),
the numbers. Files written here have the bytes that the library `safetensors` would write.
"""

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""In the order in which a file holds them."""

BLOCK = 32 * 2**20
"""Bytes of a tensor that are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where the numbers of a tensor lie."""

    path: Path
    start: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * DTYPES[self.dtype].itemsize

    def blocks(self, kept: tuple[Tensor | None, ...] = ()) -> Iterator[Tensor]:
        """The tensor, or what is `kept` along each of its dimensions (None: all), in blocks of rows of at most `BLOCK`
        bytes of the file (a longer row stands alone)."""
        along = [*kept, *[None] * (len(self.shape) - len(kept))]
        rows = torch.arange(self.shape[0]) if along[0] is None else along[0]
        if self.nbytes <= BLOCK:
            whole = self._read(torch.arange(self.shape[0]))
            yield _select(whole, [rows, *along[1:]])
            return
        for part in rows.split(max(1, BLOCK // (self.nbytes // self.shape[0]))):
            yield _select(self._read(part), [None, *along[1:]])

    def _read(self, rows: Tensor) -> Tensor:
        """These rows; neighbours are read at once."""
        found = torch.empty((len(rows), *self.shape[1:]), dtype=DTYPES[self.dtype])
        if not found.numel():
            return found
        view = found.view(-1).view(torch.uint8).numpy().data
        size = found.nbytes // len(rows)
        breaks = (rows.diff() != 1).nonzero().flatten() + 1
        edges = [0, *breaks.tolist(), len(rows)]
        with self.path.open("rb", buffering=0) as stream:
            for first, last in pairwise(edges):
                _fill(stream.fileno(), view[first * size : last * size], self.start + int(rows[first]) * size)
        return found


def _fill(descriptor: int, view: memoryview, offset: int) -> None:
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if not count:
            raise ValueError(f"the file ends {len(view) - done} bytes early")
        done += count


def _select(tensor: Tensor, kept: list[Tensor | None]) -> Tensor:
    for dim, index in enumerate(kept):
        if index is not None and not torch.equal(index, torch.arange(tensor.shape[dim])):
            tensor = tensor.index_select(dim, index)
    return tensor


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file.

    Raises FileNotFoundError, or ValueError that names the file and the tensor, for a file that is damaged or holds
    tensors of a type that is not a floating one.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        try:
            entries = json.loads(stream.read(length)) if length <= size - 8 else None
        except ValueError:
            entries = None
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: damaged or not a safetensors file")
    found = {}
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{path}: {name} has type {entry['dtype']}, one of {', '.join(DTYPES)} is needed")
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        stored = StoredTensor(path=path, start=start, dtype=entry["dtype"], shape=tuple(entry["shape"]))
        if end - start != stored.nbytes or end > size:
            raise ValueError(f"{path}: {name} does not have the bytes of its shape; the file is cut off or damaged")
        found[name] = stored
    return found


def write_tensors(
    path: Path, layout: Mapping[str, tuple[str, tuple[int, ...]]], contents: Mapping[str, Iterable[Tensor]]
) -> None:
    """Write a file of tensors with this layout (name -> dtype, shape), from blocks of rows of each, whole or not at
    all."""
    order = sorted(layout, key=lambda name: (list(DTYPES).index(layout[name][0]), name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in order:
        dtype, shape = layout[name]
        size = prod(shape) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(f".{path.name}.tmp")
    with partial.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            for block in contents[name]:
                stream.write(block.contiguous().view(-1).view(torch.uint8).numpy().data)
        if stream.tell() != 8 + len(text) + at:
            raise ValueError(f"{path}: the blocks do not make up the tensors of the layout")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)
