"""Encoding in C++ (`csrc`): the pre-tokenizers of `PATTERNS` cut, byte pairs merged, words that were met looked up.

Which characters are letters, marks, numbers or white space is asked of `tokenizers` itself, whose Unicode may be older
or newer than Python's, a block of 256 when a text first touches it.
"""

import ctypes
import warnings
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, pre_tokenizers

from kernels.cpp import BuildError, build
from ops.tokenize.pieces import GPT2_PATTERN, pattern_of
from ops.tokenize.pieces import PATTERNS as CUT_PATTERNS
from ops.tokenizer.tekken import byte_characters

SOURCES = Path(__file__).parent / "csrc"
KINDS = (r"[\p{Lu}\p{Lt}]+", r"\p{Ll}+", r"[\p{Lm}\p{Lo}]+", r"\p{M}+", r"\p{N}+", r"\s+")
"""Those of `csrc/text.h` from 1 on; 0 are all other characters."""

PATTERNS = (*CUT_PATTERNS, GPT2_PATTERN)
"""`csrc/text.h` cuts by them; `csrc/bpe.cpp` knows them by this order."""

_BLOCK = 256
_NUM_BLOCKS = 0x110000 // _BLOCK


class _Vocabulary(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("pattern", "memory", "num_merges", "num_whole")),
        *((name, ctypes.c_void_p) for name in ("bytes", "left", "right", "merged", "whole", "whole_ends", "whole_ids")),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The encoder's code, or None, with one warning that says why, where it cannot be had."""
    try:
        loaded = ctypes.CDLL(str(build(SOURCES, "tokenize")))
    except (BuildError, OSError) as error:
        warnings.warn(f"the C++ encoder is not available, a slower one is used: {error}", stacklevel=2)
        return None
    loaded.bpe_new.restype = ctypes.c_void_p
    return loaded


def can_merge(data: dict[str, Any]) -> bool:
    """Whether `NativeEncoder` encodes as the tokenizer of this `tokenizer.json` does: its BPE is the plain one over
    bytes, its pattern one of `PATTERNS`."""
    extras = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    model = data["model"]
    known = pattern_of(data) in PATTERNS and not any(map(model.get, extras))
    return known and model["vocab"].keys() >= set(byte_characters())


class NativeEncoder:
    """Token ids by a `tokenizer.json` for which `can_merge` holds, where there is a `library`."""

    def __init__(self, data: dict[str, Any], eod_id: int, dtype: np.dtype, *, memory: int = 1 << 26) -> None:
        """`memory`: bytes for the words that are kept, about."""
        loaded = library()
        assert loaded is not None, "the library is not available"
        self._library, self._eod_id, self._dtype = loaded, eod_id, dtype
        self._kinds = np.zeros(_NUM_BLOCKS * _BLOCK, dtype=np.uint8)
        self._known = np.zeros(_NUM_BLOCKS, dtype=bool)
        pattern = pattern_of(data)
        assert pattern is not None, "can_merge does not hold"
        self._handle = _new(loaded, data["model"], PATTERNS.index(pattern), memory)

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            self._library.bpe_free(ctypes.c_void_p(handle))

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """Token ids of each text with the EOD behind it."""
        encoded = [text.encode() for text in texts]
        data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        self._learn(data)
        ids_T = np.empty(len(data) + len(texts), dtype=np.int32)
        id_ends = np.empty(len(texts), dtype=np.int64)
        self._library.bpe_encode(
            ctypes.c_void_p(self._handle),
            _pointer(data),
            _pointer(ends),
            ctypes.c_int64(len(texts)),
            _pointer(self._kinds),
            ctypes.c_int32(self._eod_id),
            _pointer(ids_T),
            _pointer(id_ends),
        )
        bounds = [0, *id_ends.tolist()]
        ids_T = ids_T[: bounds[-1]].astype(self._dtype)
        return [ids_T[start:end] for start, end in pairwise(bounds)]

    def _learn(self, data: np.ndarray) -> None:
        """Ask for the kinds of the characters in blocks that are new."""
        touched = np.zeros(_NUM_BLOCKS, dtype=bool)
        self._library.bpe_blocks(_pointer(data), ctypes.c_int64(len(data)), _pointer(touched))
        new = np.flatnonzero(touched & ~self._known)
        if len(new):
            codes = (new[:, None] * _BLOCK + np.arange(_BLOCK)).ravel()
            self._kinds[codes] = kinds_of("".join(map(chr, codes.tolist())))
            self._known[new] = True


def kinds_of(text: str) -> np.ndarray:
    """The kind of each character, as the regular expressions of `tokenizers` see it."""
    kind_C = np.zeros(len(text), dtype=np.uint8)
    for kind, pattern in enumerate(KINDS, start=1):
        others = pre_tokenizers.Split(Regex(pattern), behavior="removed").pre_tokenize_str(text)
        of_kind_C = np.ones(len(text), dtype=bool)
        for _, (start, end) in others:
            of_kind_C[start:end] = False
        kind_C[of_kind_C] = kind
    return kind_C


def _new(loaded: ctypes.CDLL, model: dict[str, Any], pattern: int, memory: int) -> int:
    """An encoder of this vocabulary in the library."""
    vocab: dict[str, int] = model["vocab"]
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    whole: dict[str, int] = {}
    if model.get("ignore_merges"):
        whole = {token: number for token, number in vocab.items() if token and byte_of.keys() >= set(token)}
    arrays = {
        "bytes": np.array([vocab[character] for character in byte_of], dtype=np.int32),
        "left": np.array([vocab[left] for left, _ in pairs], dtype=np.int32),
        "right": np.array([vocab[right] for _, right in pairs], dtype=np.int32),
        "merged": np.array([vocab[left + right] for left, right in pairs], dtype=np.int32),
        "whole": np.array([byte_of[character] for token in whole for character in token], dtype=np.uint8),
        "whole_ends": np.cumsum([len(token) for token in whole], dtype=np.int64),
        "whole_ids": np.array(list(whole.values()), dtype=np.int32),
    }
    vocabulary = _Vocabulary(
        pattern=pattern,
        memory=memory,
        num_merges=len(pairs),
        num_whole=len(whole),
        **{name: array.ctypes.data for name, array in arrays.items()},
    )
    return loaded.bpe_new(ctypes.byref(vocabulary))


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
