"""Normalised text, its exact digest, and its shingles: word n-grams hashed to 32 bits, by NumPy over whole batches.

Two documents with equal normalised text have the same digest; the Jaccard similarity of two documents is that of
their sets of shingle hashes. A hash collision inside a pair of documents (1,000 shingles each) has probability 2e-4
and would move their similarity by 1e-3.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ops.minhash.hashing import U64, mix, random_u64

U32 = npt.NDArray[np.uint32]

OPERATORS = b"+-=<>*/^_\\"
_SEPARATOR, _WORD, _OPERATOR = 0, 1, 2
_RUN_BYTES = 1 << 17  # the work arrays of a run stay in the CPU cache
_MULTIPLIER = 0xD6E8FEB86659FD93  # odd, so it has an inverse modulo 2**64
_INVERSE = pow(_MULTIPLIER, -1, 2**64)


def _byte_classes() -> npt.NDArray[np.uint8]:
    classes = np.zeros(256, dtype=np.uint8)
    classes[[byte for byte in range(256) if byte >= 0x80 or chr(byte).isalnum()]] = _WORD
    classes[list(OPERATORS)] = _OPERATOR
    return classes


_CLASSES = _byte_classes()
_BYTE_VALUES = random_u64(256, seed=0x5748)


def _powers(count: int) -> tuple[U64, U64]:
    """Powers 0 to `count - 1`, or more, of the multiplier and of its inverse."""
    return _power_table() if count <= 2 * _RUN_BYTES else _computed_powers(count)


@lru_cache(maxsize=1)
def _power_table() -> tuple[U64, U64]:
    return _computed_powers(2 * _RUN_BYTES)


def _computed_powers(count: int) -> tuple[U64, U64]:
    power_T, inverse_T = (np.full(count, base, dtype=np.uint64) for base in (_MULTIPLIER, _INVERSE))
    for array in (power_T, inverse_T):
        array[0] = 1
        np.cumprod(array, out=array)
    return power_T, inverse_T


def normalise(text: str) -> str:
    """NFC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def digest(normalised: str) -> bytes:
    """16 bytes of BLAKE2b."""
    return hashlib.blake2b(normalised.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def word_hashes(data: bytes) -> tuple[U64, npt.NDArray[np.int64]]:
    """64-bit hashes of the words of UTF-8 `data`, and where each starts (bytes)."""
    bytes_T = np.frombuffer(data, dtype=np.uint8)
    if not len(bytes_T):
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    class_T = _CLASSES.take(bytes_T)
    is_word = class_T == _WORD
    is_operator = class_T == _OPERATOR
    start_T = is_word.copy()
    start_T[1:] &= ~is_word[:-1]
    end_T = is_word.copy()
    end_T[:-1] &= ~is_word[1:]
    start_W = np.flatnonzero(start_T | is_operator)
    end_W = np.flatnonzero(end_T | is_operator) + 1
    # Polynomial hash of each word from prefix sums: sum(value[b] * m**i) * m**-start, modulo 2**64.
    power_T, inverse_T = _powers(len(bytes_T))
    value_T = _BYTE_VALUES.take(bytes_T)
    value_T *= power_T[: len(bytes_T)]
    prefix_T = np.zeros(len(bytes_T) + 1, dtype=np.uint64)
    np.cumsum(value_T, out=prefix_T[1:])
    hash_W = (prefix_T.take(end_W) - prefix_T.take(start_W)) * inverse_T.take(start_W)
    return mix(hash_W), start_W


def shingle_hashes(texts: Sequence[str], ngram: int) -> list[U32]:
    """For each normalised text the sorted distinct hashes of its word n-grams.

    A text of fewer than `ngram` words, but at least one, has one shingle: all of it. Memory: about 60 bytes a byte of
    text for `_RUN_BYTES` of text at a time, or for the longest text where that is longer.
    """
    result: list[U32] = []
    run: list[bytes] = []
    size = 0
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        if run and size + len(data) > _RUN_BYTES:
            result += _shingle_run(run, ngram)
            run, size = [], 0
        run.append(data)
        size += len(data)
    return result + _shingle_run(run, ngram)


def _shingle_run(encoded: Sequence[bytes], ngram: int) -> list[U32]:
    # A separator between documents; windows that cross it are left out below.
    hash_W, start_W = word_hashes(b"\0".join(encoded))
    ends = np.cumsum([len(data) + 1 for data in encoded])
    bounds = [0, *np.searchsorted(start_W, ends)]
    num_windows = max(len(hash_W) - ngram + 1, 0)
    window_S = np.zeros(num_windows, dtype=np.uint64)
    for offset in range(ngram):
        window_S = mix(window_S * np.uint64(_MULTIPLIER) + hash_W[offset : offset + num_windows])
    window_S >>= np.uint64(32)
    short_S = window_S.astype(np.uint32)
    result = []
    for first, last in pairwise(bounds):
        if last - first >= ngram:
            result.append(_distinct(short_S[first : last - ngram + 1]))
        elif last > first:
            whole = np.zeros(1, dtype=np.uint64)
            for value in hash_W[first:last]:
                whole = mix(whole * np.uint64(_MULTIPLIER) + value)
            result.append((whole >> np.uint64(32)).astype(np.uint32))
        else:
            result.append(np.zeros(0, dtype=np.uint32))
    return result


def _distinct(items: U32) -> U32:
    """Sorted and distinct: `np.unique`, ten times as fast on arrays of this size."""
    ordered = np.sort(items)
    new = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return ordered[new]
