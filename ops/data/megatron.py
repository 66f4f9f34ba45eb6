"""Megatron's indexed dataset: `tokens.bin` holds token ids, `tokens.idx` says where the sequences lie.

The index, little-endian throughout: 9 bytes `MMIDIDX\\0\\0`; u64 version 1; u8 code of the dtype; u64 number of
sequences S; u64 length D of the document index; int32[S] lengths in tokens; int64[S] byte offsets; int64[D] sequence
numbers where documents begin, closed by S. Here every document is one sequence, so D = S + 1 and a file has
42 + 20 S bytes.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ops.errors import InputError

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPE_CODES = {
    "uint8": 1,
    "int8": 2,
    "int16": 3,
    "int32": 4,
    "int64": 5,
    "float64": 6,
    "float32": 7,
    "uint16": 8,
}
UINT16_VOCAB_LIMIT = 65500
"""Below this vocabulary size Megatron-LM takes uint16, from it on int32 (`indexed_dataset.py`)."""

HEADER = struct.Struct("<9sQBQQ")
BIN = "tokens.bin"
IDX = "tokens.idx"
DOCUMENTS = "documents.parquet"
META = "tokens.json"
"""Of one token shard, written last: dtype, counts, SHA-256 of the payload, vocabulary size, EOD id."""


def token_dtype(vocab_size: int) -> np.dtype:
    """The dtype of token ids for a vocabulary."""
    return np.dtype("<u2") if vocab_size < UINT16_VOCAB_LIMIT else np.dtype("<i4")


def index_bytes(lengths: np.ndarray, dtype: np.dtype) -> bytes:
    """The whole index file of documents with these lengths (in tokens), one sequence each.

    Raises:
        InputError: when a document is too long for the format (2**31 tokens).
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if len(lengths) and int(lengths.max()) >= 2**31:
        raise InputError(f"a document of {int(lengths.max())} tokens does not fit a Megatron index (int32 lengths)")
    count = len(lengths)
    ends = np.cumsum(lengths)
    offsets = (ends - lengths) * dtype.itemsize
    return b"".join(
        (
            HEADER.pack(MAGIC, VERSION, DTYPE_CODES[dtype.name], count, count + 1),
            lengths.astype("<i4").tobytes(),
            offsets.astype("<i8").tobytes(),
            np.arange(count + 1, dtype="<i8").tobytes(),
        )
    )


@dataclass(frozen=True)
class ShardMeta:
    """What `tokens.json` says of a shard."""

    dtype: np.dtype
    num_tokens: int
    num_documents: int
    sha256: str
    vocab_size: int
    eod_id: int
    tokenizer_sha256: str

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "dtype": self.dtype.name}


def read_meta(directory: Path) -> ShardMeta:
    """Read a shard's `tokens.json`.

    Raises:
        InputError: when it is missing or not what `ops.tokenize` writes.
    """
    path = directory / META
    try:
        data = json.loads(path.read_bytes())
        return ShardMeta(**{**data, "dtype": np.dtype(data["dtype"]).newbyteorder("<")})
    except FileNotFoundError:
        raise InputError(f"{directory}: holds no {META}, so it is not a (finished) token shard") from None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not the description of a token shard: {error!r}") from error


def map_tokens(directory: Path, dtype: np.dtype, num_tokens: int) -> np.ndarray:
    """Memory-map a shard's payload, read-only.

    Raises:
        InputError: when the file is missing or its size is not what the shard's description says.
    """
    path = directory / BIN
    if not path.exists():
        raise InputError(f"{path}: no such file")
    size, expected = path.stat().st_size, num_tokens * dtype.itemsize
    if size != expected:
        raise InputError(f"{path}: has {size} bytes, {num_tokens} tokens of {dtype.name} need {expected}")
    if num_tokens == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")
