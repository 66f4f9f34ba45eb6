"""Encoding by pieces, without C++: most of a text is words that were encoded before.

A pre-tokenizer of the GPT-2 family cuts text left to right, looks at most one character ahead and not behind. So a text
may be cut wherever such a cut is sure to be, and each piece encoded alone: the tokens are those of the whole text. For
`PATTERNS` a cut is sure

- before a blank that a visible character follows: no match goes on from a visible character to a blank, and of several
  blanks `\\s+(?!\\S)` leaves the last to the word;
- behind the last newline of white space, if no slash follows: signs and `\\s*[\\r\\n]+` take newlines, `\\s+` none;
- between an ASCII letter or digit and a newline.

Pieces repeat as words do, and are looked up.
"""

import re
from itertools import chain, pairwise
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from ops.tokenizer.config import LATEX_PATTERN

PATTERNS = (
    LATEX_PATTERN,
    # Llama 3; the first of it without `(?i:...)` is GPT-4's
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    # tekken: Mistral, Nemotron
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
"""Patterns that were looked through."""

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What `ByteLevel` cuts by on its own. Its white space takes a newline or leaves it by what follows: no sure cut."""

_CUT = re.compile(r" (?=\S)")
_LINES = re.compile(r"(?<=\n)(?= *(?:[^\s/]|(?<= )\Z))|(?<=[A-Za-z0-9])(?=\n)")
_BARE = "\n"  # marks a piece without a blank before it; the others begin with a visible character, behind their blank
_NEWLINE = _BARE + "\n"
_END = ""
_TOGETHER = 1000
_MAX_SIZE = 1 << 26
_OVERHEAD = 120
"""Bytes of memory for the table at most, about, and those of an entry beside its text."""


def can_cut(data: dict[str, Any]) -> bool:
    """Whether the tokenizer of this `tokenizer.json` encodes pieces as it encodes the whole: nothing normalizes or
    looks for added tokens in the text, and its pattern is one of `PATTERNS`."""
    return pattern_of(data) in PATTERNS


def pattern_of(data: dict[str, Any]) -> str | None:
    """The pattern by which a BPE over bytes cuts the text that it is given; None where other things come into it."""
    if (
        data["normalizer"]
        or data["model"]["type"] != "BPE"
        or not all(token["special"] for token in data["added_tokens"])
    ):
        return None
    before = data["pre_tokenizer"] or {}
    *first, level = before.get("pretokenizers") or [before]
    if level.get("type") != "ByteLevel" or level["add_prefix_space"]:
        return None
    if not first:
        return GPT2_PATTERN if level["use_regex"] else None
    cut = first[0]
    in_order = (cut["type"], cut.get("behavior"), cut.get("invert")) == ("Split", "Isolated", False)
    return cut["pattern"].get("Regex") if in_order and len(first) == 1 and not level["use_regex"] else None


class PieceTable:
    """Token ids of pieces, made by a tokenizer for which `can_cut` holds."""

    def __init__(self, tokenizer: Tokenizer, eod_id: int, dtype: np.dtype) -> None:
        self._tokenizer, self._eod_id, self._dtype = tokenizer, eod_id, dtype
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        self._num_bytes = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
        for token, number in vocabulary.items():
            self._num_bytes[number] = len(token)  # a character of the byte-level alphabet is a byte
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
        words = [key for key in keys if key[0] != _BARE]
        bare = [key for key in keys if key[0] == _BARE]
        word_ids_T, word_lengths = self._encode_words(words)
        found = [encoding.ids for encoding in self._encode_batch([key[1:] for key in bare])]
        bare_lengths = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
        length = np.concatenate([word_lengths, bare_lengths])
        bare_ids_T = np.fromiter(chain.from_iterable(found), dtype=self._dtype, count=int(bare_lengths.sum()))
        self._start = np.concatenate([self._start, len(self._ids) + np.cumsum(length) - length])
        self._length = np.concatenate([self._length, length])
        self._ids = np.concatenate([self._ids, word_ids_T, bare_ids_T])
        for key in chain(words, bare):
            self._number[key] = len(self._number)
        self._size += sum(map(len, keys)) + _OVERHEAD * len(keys)

    def _encode_batch(self, texts: list[str]) -> list[Encoding]:
        return self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)

    def _encode_words(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of words with their blanks, and how many each has. Many are encoded as one text, whose tokens are told
        apart by their bytes: that spares an object for each."""
        texts = [" " + " ".join(words[start : start + _TOGETHER]) for start in range(0, len(words), _TOGETHER)]
        found = [np.array(encoding.ids, dtype=self._dtype) for encoding in self._encode_batch(texts)]
        ids_T = np.concatenate([np.zeros(0, dtype=self._dtype), *found])
        end_T = np.cumsum(self._num_bytes[ids_T])
        end_W = np.cumsum(np.array([len(word.encode()) + 1 for word in words], dtype=np.int64))
        last_W = np.searchsorted(end_T, end_W)
        if len(words) and (end_T[-1] != end_W[-1] or not np.array_equal(end_T[last_W], end_W)):
            raise ValueError("the tokenizer joined words that `can_cut` says it does not join")
        return ids_T, np.diff(last_W + 1, prepend=0)


def _keys(text: str) -> list[str]:
    pieces = _CUT.split(text)
    pieces[0] = _BARE + pieces[0]
    keys: list[str] = []
    for piece in pieces:
        if "\n" not in piece:
            keys.append(piece)
            continue
        head, _, tail = piece.partition("\n")
        if head and not tail.strip(" "):  # the end of a line, the next one indented or not: most are
            if head[-1].isalnum() and head[-1].isascii():
                keys += [head, _NEWLINE]
            else:
                keys.append(f"{head}\n")
            if tail:
                keys.append(_BARE + tail)
        else:
            first, *rest = _LINES.split(piece[1:])
            keys.append(piece[0] + first)
            keys += [_BARE + line for line in rest]
    keys.append(_END)
    return keys
