"""Find evaluation items in documents."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ops.decontaminate.index import FORMULA, LINE, MAX_LINE, RULES, Index
from ops.decontaminate.tokens import Stream, prepare, read_formulas, read_words
from ops.decontaminate.windows import Tokens

LABEL_TOKENS = 2
"""A line still counts as a whole without its first one or two tokens: `Question:`, `12.`, `Example 3:`."""

MAX_SENTENCES = 6
"""Lines or sentences that one question may fill."""

ANSWER_WITHIN = 64
"""Tokens behind a short question in which its answer must begin."""


_RUN_CHARS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Match:
    """Evidence that a document holds an item."""

    task: str
    doc_index: int
    rule: str
    tokens: tuple[str, ...]


def find(texts: Sequence[str], index: Index) -> list[Match | None]:
    """For each text the first match by rule (in the order of `RULES`), then by position; None without one.

    Memory: that of `_RUN_CHARS` characters of text at a time, or of the longest text where that is longer.
    """
    result: list[Match | None] = []
    run: list[str] = []
    size = 0
    for text in texts:
        if run and size + len(text) > _RUN_CHARS:
            result += _find_run(run, index)
            run, size = [], 0
        run.append(text)
        size += len(text)
    return result + _find_run(run, index)


def _find_run(texts: Sequence[str], index: Index) -> list[Match | None]:
    words, formulas = [], []
    for text in texts:
        prepared = prepare(text)
        word, formula = Stream(), Stream()
        read_words(prepared, word)
        read_formulas(prepared, formula)
        words.append(word)
        formulas.append(formula)
    best: list[tuple[int, int, Match] | None] = [None] * len(texts)
    base = np.cumsum([0, *(len(stream) for stream in words)])
    tokens = Tokens.of(words)
    for length, rule, start, hashes in tokens.all_windows(index.lengths):
        hits, items = index.lookup(hashes)
        _note(best, words, base, rule, start[hits], start[hits] + length, items, index)
    start, end = _line_spans(words, base, index)
    hits, items = index.lookup(tokens.spans(start, end, LINE))
    _note(best, words, base, LINE, start[hits], end[hits], items, index)
    formula_base = np.cumsum([0, *(len(stream) for stream in formulas)])
    length = index.config.latex_ngram
    for _, rule, start, hashes in Tokens.of(formulas, by_line=True).all_windows([(length, FORMULA)]):
        hits, items = index.lookup(hashes)
        _note(best, formulas, formula_base, rule, start[hits], start[hits] + length, items, index)
    return [None if found is None else found[2] for found in best]


def _line_spans(words: Sequence[Stream], base: np.ndarray, index: Index) -> tuple[np.ndarray, np.ndarray]:
    """From the start of a line or sentence, or behind its label, to the end of it or a later one, of wanted lengths."""
    # Every line starts and ends with a sentence.
    pairs = [
        np.array(stream.sentences, dtype=np.int64).reshape(-1, 2) + first
        for first, stream in zip(base[:-1], words, strict=True)
    ]
    start_S, end_S = np.concatenate([np.zeros((0, 2), dtype=np.int64), *pairs]).T
    text_end_S = base[np.searchsorted(base, start_S, side="right")]
    wanted = np.zeros(MAX_LINE + 1, dtype=bool)
    wanted[list(index.line_lengths)] = True
    starts, ends = [], []
    for further in range(MAX_SENTENCES):
        start, end = start_S[: max(len(start_S) - further, 0)], end_S[further:]
        inside = end <= text_end_S[: len(start)]
        for skipped in range(LABEL_TOKENS + 1):
            length = end - start - skipped
            inside &= (length > 0) & (start + skipped < end_S[: len(start)])
            chosen = np.flatnonzero(inside & wanted[np.clip(length, 0, MAX_LINE)] & (length <= MAX_LINE))
            starts.append(start[chosen] + skipped)
            ends.append(end[chosen])
    return np.concatenate(starts), np.concatenate(ends)


def _note(
    best: list[tuple[int, int, Match] | None],
    streams: Sequence[Stream],
    base: np.ndarray,
    rule: int,
    starts: np.ndarray,
    ends: np.ndarray,
    items: np.ndarray,
    index: Index,
) -> None:
    texts = np.searchsorted(base, starts, side="right") - 1
    for text, start, end, number in zip(texts.tolist(), starts.tolist(), ends.tolist(), items.tolist(), strict=True):
        stream, item = streams[text], index.items[number]
        start, end = start - int(base[text]), end - int(base[text])
        known = best[text]
        if known is not None and known[:2] <= (rule, start):
            continue
        if rule == LINE and item.needs_answer and not _follows(item.answer_values, stream.value, end):
            continue
        match = Match(
            task=item.task, doc_index=item.doc_index, rule=RULES[rule], tokens=tuple(stream.tokens[start:end])
        )
        best[text] = (rule, start, match)


def _follows(wanted: tuple[int, ...], values: Sequence[int], position: int) -> bool:
    """Whether the answer begins within `ANSWER_WITHIN` tokens behind `position`."""
    return any(
        tuple(values[begin : begin + len(wanted)]) == wanted
        for begin in range(position, min(position + ANSWER_WITHIN, len(values) - len(wanted) + 1))
    )
