"""Hashes of windows of tokens, over many texts at once, with variables up to renaming.

Shape suffixes: T tokens of all texts, W windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ops.decontaminate.tokens import COMMAND, NUMBER, VARIABLE, WORD, Stream
from ops.minhash.hashing import U64, mix, random_u64

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MAX_WINDOW = 256
_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
_VARIABLE_CODES = random_u64(MAX_WINDOW + 1, seed=0x76617269)
_RULE_CODES = random_u64(16, seed=0x72756C65)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Streams one behind the other as arrays. `end_T` is where the text of each token ends."""

    value_T: U64
    is_variable_T: Mask
    back_T: I64
    end_T: I64
    is_word_T: Mask
    """Words of three letters or more."""

    is_exact_T: Mask
    """Numbers and commands."""

    @staticmethod
    def of(streams: Sequence[Stream], *, by_line: bool = False) -> "Tokens":
        """Windows stay inside a stream, or inside a line of it."""
        kind_T = np.array([kind for stream in streams for kind in stream.kind], dtype=np.int64)
        ends: list[int] = []
        for stream in streams:
            base = len(ends)
            for start, end in stream.lines if by_line else [(0, len(stream))]:
                ends += [base + end] * (end - start)
        back_T = np.array([back for stream in streams for back in stream.back], dtype=np.int64)
        long_T = np.array([len(token) >= 3 for stream in streams for token in stream.tokens], dtype=bool)
        return Tokens(
            value_T=np.array([value for stream in streams for value in stream.value], dtype=np.uint64),
            is_variable_T=kind_T == VARIABLE,
            back_T=np.where(back_T > MAX_WINDOW, 0, back_T),
            end_T=np.array(ends, dtype=np.int64),
            is_word_T=(kind_T == WORD) & long_T,
            is_exact_T=(kind_T == NUMBER) | (kind_T == COMMAND),
        )

    def __len__(self) -> int:
        return len(self.value_T)

    def _step(self, state: U64, position: Any, offset: int) -> U64:
        """Take the tokens at `position`, each `offset` behind the start of its window, into the windows' states."""
        back = self.back_T[position]
        code = _VARIABLE_CODES[np.where(back <= offset, back, 0)]
        return mix(state * _MULTIPLIER + np.where(self.is_variable_T[position], code, self.value_T[position]))

    def all_windows(self, length_rules: Sequence[tuple[int, int]]) -> list[tuple[int, int, I64, U64]]:
        """For each (length, rule): (length, rule, start [W], hash [W]) of every window inside a text."""
        found = []
        state = np.zeros(len(self), dtype=np.uint64)
        wanted = dict(length_rules)
        for offset in range(max(wanted, default=0)):
            state = self._step(state[: len(self) - offset], slice(offset, len(self)), offset)
            length = offset + 1
            if length in wanted:
                start = np.flatnonzero(np.arange(len(state)) + length <= self.end_T[: len(state)])
                found.append((length, wanted[length], start, seal(state[start], wanted[length])))
        return found

    def spans(self, start_W: I64, end_W: I64, rule: int) -> U64:
        """Hashes of the windows from `start_W` to `end_W`."""
        state = np.zeros(len(start_W), dtype=np.uint64)
        length_W = end_W - start_W
        for offset in range(int(length_W.max(initial=0))):
            longer = np.flatnonzero(length_W > offset)
            state[longer] = self._step(state[longer], start_W[longer] + offset, offset)
        return seal(state, rule)


def seal(state: U64, rule: int) -> U64:
    """The final hash: windows of different rules never meet."""
    return mix(state + _RULE_CODES[rule])


def running(flags: Mask) -> I64:
    """Prefix sums [T+1], so that `s[b] - s[a]` counts the flags from a up to b."""
    return np.concatenate([[0], np.cumsum(flags)])


def distinct_words(tokens: Tokens, start_W: I64, length: int) -> I64:
    """How many different words of three letters or more are in each window of one length."""
    order = np.argsort(tokens.value_T, kind="stable")
    same = tokens.value_T[order][1:] == tokens.value_T[order][:-1]
    since_T = np.full(len(tokens), np.iinfo(np.int64).max)  # distance to the last occurrence of the same word
    since_T[order[1:][same]] = np.diff(order)[same]
    count_W = np.zeros(len(start_W), dtype=np.int64)
    for offset in range(length):
        position = start_W + offset
        count_W += tokens.is_word_T[position] & (since_T[position] > offset)
    return count_W
