"""MinHash band keys, and the rows that hold them.

Shape suffixes: D documents, S shingles of all documents together, H hash functions, B bands, R rows of a band.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ops.minhash.config import MinHashConfig
from ops.minhash.hashing import U64, mix, random_u64
from ops.minhash.shingles import U32

_CHUNK = 1 << 14  # shingles at a time: the work arrays stay in the CPU cache


def signatures_schema(num_bands: int) -> pa.Schema:
    """One row a document: what decides who survives, the exact digest, where its shingles lie, and its band keys."""
    return pa.schema(
        [
            pa.field("doc_id", pa.string(), nullable=False),
            pa.field("crawl", pa.string(), nullable=False),
            pa.field("math_score", pa.float32(), nullable=False),
            pa.field("num_chars", pa.int32(), nullable=False),
            pa.field("digest", pa.binary(16), nullable=False),
            pa.field("shingle_start", pa.int64(), nullable=False),  # index into shingles/part-XXXXX.bin, not bytes
            pa.field("num_shingles", pa.int32(), nullable=False),
            *(pa.field(f"band_{band:03d}", pa.uint64(), nullable=False) for band in range(num_bands)),
        ]
    )


def band_keys(shingles: Sequence[U32], config: MinHashConfig) -> U64:
    """Keys [D, B] of documents by their shingle sets; documents that share a key in a band are candidates.

    Permutations are the multiply-shift family `a * x + b` modulo 2**64 with odd `a`, of mixed 32-bit shingles. A
    document without shingles gets keys of its own kind, equal for all of these.
    """
    num_hashes = config.num_bands * config.rows_per_band
    multiplier = random_u64(num_hashes, seed=2 * config.seed + 1) | np.uint64(1)
    offset = random_u64(num_hashes, seed=2 * config.seed + 2)
    min_HD = np.full((num_hashes, len(shingles)), np.iinfo(np.uint64).max, dtype=np.uint64)
    for first, last in _runs([len(items) for items in shingles]):
        filled = [index for index in range(first, last) if len(shingles[index])]
        if not filled:
            continue
        value_S = mix(np.concatenate([shingles[index] for index in filled]))
        starts = np.cumsum([0, *(len(shingles[index]) for index in filled[:-1])])
        work_S = np.empty_like(value_S)
        least_HD = np.empty((num_hashes, len(filled)), dtype=np.uint64)
        for position in range(num_hashes):
            np.multiply(value_S, multiplier[position], out=work_S)
            work_S += offset[position]
            np.minimum.reduceat(work_S, starts, out=least_HD[position])
        min_HD[:, filled] = least_HD
    min_DBR = np.ascontiguousarray(min_HD.T).reshape(len(shingles), config.num_bands, config.rows_per_band)
    key_DB = np.zeros(min_DBR.shape[:2], dtype=np.uint64)
    for row in range(config.rows_per_band):
        key_DB = mix(key_DB + min_DBR[:, :, row])
    return key_DB


def _runs(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Cut documents into runs of about `_CHUNK` shingles."""
    runs = []
    first = total = 0
    for index, length in enumerate(lengths):
        total += length
        if total >= _CHUNK:
            runs.append((first, index + 1))
            first, total = index + 1, 0
    if first < len(lengths):
        runs.append((first, len(lengths)))
    return runs
