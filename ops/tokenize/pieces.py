"""Encoding by pieces: most of a text is words that were encoded before.

A pre-tokenizer of the GPT-2 family never joins a blank to what stands before it, looks at most one character ahead,
and not behind. So the text may be cut before every single blank between two visible characters, and each piece encoded
alone: the tokens are those of the whole text. Pieces repeat as words do, and are looked up.
"""

import json
import re
from itertools import chain, pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ops.tokenizer.config import LATEX_PATTERN

PATTERNS = frozenset(
    {
        LATEX_PATTERN,
        # Llama 3; the first of it without `(?i:...)` is GPT-4's
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+",
        # tekken: Mistral, Nemotron
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    }
)
"""Patterns that were looked through: in none of them a match goes on from a visible character to a blank."""

_CUT = re.compile(r" (?=\S)(?<=\S )")
_FIRST = "\n"  # marks the piece that a text begins with; the others begin with a visible character, behind their blank
_END = ""
_MAX_SIZE = 1 << 26
_OVERHEAD = 120
"""Bytes of memory for the table at most, about, and those of an entry beside its text."""


def can_cut(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer encodes pieces as it encodes the whole: nothing normalizes or looks for added tokens in the
    text, and its pattern is one of `PATTERNS`."""
    data: dict[str, Any] = json.loads(tokenizer.to_str())
    steps = (data["pre_tokenizer"] or {}).get("pretokenizers") or [{}, {}]
    cut, level = steps[0], steps[-1]
    return (
        data["normalizer"] is None
        and all(token["special"] for token in data["added_tokens"])
        and data["model"]["type"] == "BPE"
        and len(steps) == 2
        and (cut.get("type"), cut.get("behavior"), cut.get("invert")) == ("Split", "Isolated", False)
        and cut["pattern"].get("Regex") in PATTERNS
        and (level.get("type"), level.get("add_prefix_space"), level.get("use_regex")) == ("ByteLevel", False, False)
    )


class PieceTable:
    """Token ids of pieces, made by a tokenizer for which `can_cut` holds."""

    def __init__(self, tokenizer: Tokenizer, eod_id: int, dtype: np.dtype) -> None:
        self._tokenizer, self._eod_id, self._dtype = tokenizer, eod_id, dtype
        self._clear()

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """Token ids of each text with the EOD behind it."""
        if self._size > _MAX_SIZE:
            self._clear()
        cut = [_keys(text) for text in texts]
        keys = list(chain.from_iterable(cut))
        self._add([key for key in dict.fromkeys(keys) if key not in self._number])
        number_P = np.fromiter(map(self._number.__getitem__, keys), dtype=np.int64, count=len(keys))
        length_P = self._length[number_P]
        end_P = np.cumsum(length_P)
        source_T = np.repeat(self._start[number_P] - (end_P - length_P), length_P) + np.arange(end_P[-1] if keys else 0)
        ids_T = self._ids[source_T]
        last = np.cumsum([len(pieces) for pieces in cut], dtype=np.int64) - 1
        return [ids_T[start:end] for start, end in pairwise([0, *end_P[last].tolist()])]

    def _clear(self) -> None:
        self._number: dict[str, int] = {_END: 0}
        self._ids = np.array([self._eod_id], dtype=self._dtype)
        self._length = np.ones(1, dtype=np.int64)
        self._start = np.zeros(1, dtype=np.int64)
        self._size = 0

    def _add(self, keys: list[str]) -> None:
        if not keys:
            return
        pieces = [key[1:] if key.startswith(_FIRST) else f" {key}" for key in keys]
        found = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)]
        length = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
        self._start = np.concatenate([self._start, len(self._ids) + np.cumsum(length) - length])
        self._length = np.concatenate([self._length, length])
        new = np.fromiter(chain.from_iterable(found), dtype=self._dtype, count=int(length.sum()))
        self._ids = np.concatenate([self._ids, new])
        for key in keys:
            self._number[key] = len(self._number)
        self._size += sum(map(len, keys)) + _OVERHEAD * len(keys)


def _keys(text: str) -> list[str]:
    pieces = _CUT.split(text)
    pieces[0] = _FIRST + pieces[0]
    pieces.append(_END)
    return pieces
