"""The evaluation items as one sorted table of window hashes.

Memory: 14 bytes a window and a 16 MiB filter, so bounded by the evaluation sets (25,000 items of MATH, GSM8K, ARC,
HellaSwag and more make about 2 million windows).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ops.decontaminate.config import DecontaminateConfig
from ops.decontaminate.tokens import NUMBER, WORD, Stream, prepare, read_formulas, read_words
from ops.decontaminate.windows import I64, Tokens, distinct_words, running
from ops.errors import InputError
from ops.minhash.hashing import U64
from ops.parts import read_rows

NGRAM, ANSWER, ITEM, LINE, FORMULA = range(5)
RULES = ("ngram", "answer", "item", "line", "formula")
MAX_LINE = 64
"""Longer questions than this are not looked for as a line."""

_FILTER_BITS = 24
_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class Item:
    """One evaluation item. `answer_values` are the token hashes of its gold answer."""

    task: str
    doc_index: int
    answer_values: tuple[int, ...]
    needs_answer: bool
    """So short and common a question that it counts only with its answer behind it."""


class Index:
    """Hashes of everything to be found, sorted, and whose they are.

    Attributes:
        items: the evaluation items.
        lengths: (length, rule) of the windows to look at everywhere in a text.
        line_lengths: lengths to look at where a line or sentence begins.
        unchecked: items too short for every rule, by task.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], config: DecontaminateConfig) -> None:
        self.config = config
        self.items: list[Item] = []
        self.unchecked: Counter[str] = Counter()
        self._needs_answer: list[bool] = []
        self._found: list[tuple[int, int, U64, I64]] = []
        batch: list[Mapping[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == _BATCH:
                self._add(batch)
                batch = []
        if batch:
            self._add(batch)
        self._freeze()

    @staticmethod
    def load(eval_tasks: Path, config: DecontaminateConfig) -> "Index":
        """The index of `items.parquet`.

        Raises:
            InputError: when the file cannot be read, or holds no item.
        """
        path = eval_tasks / "items.parquet"
        columns = ["task", "doc_index", "question", "answer"]
        index = Index((row for rows in read_rows(path, columns=columns) for row in rows), config)
        if not index.items:
            raise InputError(f"{path}: holds no evaluation item")
        return index

    def __len__(self) -> int:
        return len(self._hash)

    def lookup(self, hashes: U64) -> tuple[I64, I64]:
        """Which of `hashes` are in the index, and the item of each."""
        maybe = np.flatnonzero(self._filter[hashes >> np.uint64(64 - _FILTER_BITS)])
        if not len(maybe):
            return maybe, maybe
        place = np.minimum(np.searchsorted(self._hash, hashes[maybe]), len(self._hash) - 1)
        right = self._hash[place] == hashes[maybe]
        return maybe[right], self._item[place[right]].astype(np.int64)

    def _add(self, rows: list[Mapping[str, Any]]) -> None:
        """Add items: the windows of question and answer one behind the other, or else the question as a whole."""
        streams, formulas, lengths = [], [], []
        for row in rows:
            stream, formula = Stream(), Stream()
            prepared = prepare(row["question"])
            read_words(prepared, stream)
            read_formulas(prepared, formula)
            lengths.append(len(stream))
            read_words(prepare(row["answer"]), stream)
            streams.append(stream)
            formulas.append(formula)
        tokens = Tokens.of(streams)
        base = np.cumsum([0, *(len(stream) for stream in streams)])
        covered = self._add_ngrams(tokens, base, base[:-1] + lengths)
        self._add_whole(rows, streams, tokens, base, lengths, covered)
        self._add_formulas(formulas)
        for row, stream, length, needs_answer in zip(rows, streams, lengths, self._needs_answer, strict=True):
            answer = stream.value[length : length + self.config.min_item_tokens] if needs_answer else ()
            self.items.append(
                Item(
                    task=row["task"],
                    doc_index=row["doc_index"],
                    answer_values=tuple(answer),
                    needs_answer=needs_answer,
                )
            )

    def _add_ngrams(self, tokens: Tokens, base: I64, question_end: I64) -> npt.NDArray[np.bool_]:
        """Add n-grams that begin in a question and longer ones of its answer. Which questions hold one inside."""
        config = self.config
        owner_T = np.repeat(np.arange(len(question_end)), np.diff(base))
        covered = np.zeros(len(question_end), dtype=bool)
        for length, rule, start, hashes in tokens.all_windows([(config.ngram, NGRAM), (config.answer_ngram, ANSWER)]):
            owner = owner_T[start]
            in_answer = start >= question_end[owner]
            right_place = in_answer if rule == ANSWER else ~in_answer
            chosen = np.flatnonzero(right_place & (distinct_words(tokens, start, length) >= config.min_words))
            owner, start = owner[chosen], start[chosen]
            self._found.append((length, rule, hashes[chosen], len(self.items) + owner))
            covered[owner[start + length <= question_end[owner]]] = True
        return covered

    def _add_whole(
        self,
        rows: list[Mapping[str, Any]],
        streams: list[Stream],
        tokens: Tokens,
        base: I64,
        lengths: list[int],
        covered: npt.NDArray[np.bool_],
    ) -> None:
        """Add the questions that hold no n-gram as a whole, and count those that are too short for that too."""
        config = self.config
        exact = running(tokens.is_exact_T)
        self._needs_answer = [False] * len(rows)
        for number, (row, stream, length) in enumerate(zip(rows, streams, lengths, strict=True)):
            begin, end = int(base[number]), int(base[number]) + length
            if covered[number]:
                continue
            words = {token for token, kind in zip(stream.tokens[:length], stream.kind, strict=False) if kind == WORD}
            num_words = sum(1 for word in words if len(word) >= 3)
            enough_words = num_words * config.ngram >= config.min_words * length
            if config.min_item_tokens <= length < config.ngram and enough_words:
                self._add_span(tokens, begin, end, ITEM, number)
            elif config.min_line_tokens <= length <= MAX_LINE:
                self._add_span(tokens, begin, end, LINE, number)
                self._needs_answer[number] = length < config.min_bare_tokens and bool(exact[end] == exact[begin])
            elif len(stream) < config.ngram:
                self.unchecked[row["task"]] += 1

    def _add_span(self, tokens: Tokens, begin: int, end: int, rule: int, item: int) -> None:
        hashes = tokens.spans(np.array([begin]), np.array([end]), rule)
        self._found.append((end - begin, rule, hashes, np.array([len(self.items) + item])))

    def _add_formulas(self, formulas: list[Stream]) -> None:
        length = self.config.latex_ngram
        tokens = Tokens.of(formulas, by_line=True)
        owner_T = np.repeat(np.arange(len(formulas)), [len(stream) for stream in formulas])
        names = [(kind, token) for stream in formulas for kind, token in zip(stream.kind, stream.tokens, strict=True)]
        for _, rule, start, hashes in tokens.all_windows([(length, FORMULA)]):
            rich = [self._is_specific(names[begin : begin + length]) for begin in start]
            chosen = np.flatnonzero(np.array(rich, dtype=bool))
            self._found.append((length, rule, hashes[chosen], len(self.items) + owner_T[start[chosen]]))

    def _is_specific(self, window: list[tuple[int, str]]) -> bool:
        kinds = set(window)
        numbers = sum(1 for kind, _ in kinds if kind == NUMBER)
        return len(kinds) >= self.config.min_latex_kinds and numbers >= self.config.min_latex_numbers

    def _freeze(self) -> None:
        found = [entry for entry in self._found if len(entry[2])]
        self.lengths = sorted({(length, rule) for length, rule, *_ in found if rule in (NGRAM, ANSWER, ITEM)})
        self.line_lengths = frozenset(length for length, rule, *_ in found if rule == LINE)
        hashes = np.concatenate([entry[2] for entry in found]) if found else np.zeros(0, dtype=np.uint64)
        items = np.concatenate([entry[3] for entry in found]) if found else np.zeros(0, dtype=np.int64)
        self._found = []
        self._hash, where = np.unique(hashes, return_index=True)  # the first item of equal ones
        self._item = items[where].astype(np.int32)
        self._filter: npt.NDArray[np.bool_] = np.zeros(1 << _FILTER_BITS, dtype=bool)
        self._filter[self._hash >> np.uint64(64 - _FILTER_BITS)] = True
