"""The order of training: an endless stream of documents that is a pure function of a seed.

In every epoch all documents come once, or as often as their weights say, in an order keyed by (seed, epoch). The
stream is never stored: where any position lies follows from the document lengths, so that nothing has to be saved to
go on after a kill or on another number of processes.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CACHED_EPOCHS = 2  # a batch touches two epochs where one ends


def keyed_permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of `range(count)` keyed by (seed, epoch), the same on every platform and NumPy version.

    Element i gets the i-th output of SplitMix64 (Steele et al. 2014) started at the first 8 bytes, little-endian, of
    SHA-256("seed:epoch"); the elements are sorted by it. SplitMix64 outputs of one stream are distinct: no ties.
    """
    return np.argsort(_splitmix(count, f"{seed}:{epoch}"), kind="stable")


def _splitmix(count: int, key: str) -> np.ndarray:
    """The first outputs of SplitMix64 started at the first 8 bytes, little-endian, of SHA-256(key)."""
    start = np.uint64(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN + start
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class Segment:
    """A run of tokens of one document in the stream."""

    document: int  # index into the lengths the stream was made of
    offset: int  # of its first token, in the document
    length: int  # tokens


def copies(weights: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """How often each document comes in an epoch: the whole part of its weight, and once more with the rest as chance.

    The chance is a number keyed by (seed, epoch) and the document's place, so that other epochs take other documents.
    """
    whole = np.floor(weights)
    chance = _splitmix(len(weights), f"{seed}:{epoch}:copies") / 2.0**64
    return (whole + (chance < weights - whole)).astype(np.int64)


class DocumentStream:
    """Documents of given lengths, in every epoch once or as often as their weight says, for ever.

    Args:
        lengths: tokens of each document, all positive, at least one document.
        seed: keys the order of every epoch.
        weights: of each document, 1 for once an epoch; None for 1 everywhere.

    Memory: 16 bytes a document for each of the two epochs kept at hand, beside the lengths.
    """

    def __init__(self, lengths: np.ndarray, seed: int, weights: np.ndarray | None = None) -> None:
        if len(lengths) == 0 or int(lengths.min()) <= 0:
            raise ValueError("a stream needs at least one document, each of at least one token")
        if weights is not None and (len(weights) != len(lengths) or weights.min() < 0 or not weights.max() > 0):
            raise ValueError("a weight for each document, none of them negative, not all of them 0")
        self.lengths = lengths
        self.seed = seed
        self.weights = weights
        self.epoch_tokens = int(lengths.sum(dtype=np.int64))
        """Of one epoch without weights: every document once."""
        self._order = lru_cache(maxsize=_CACHED_EPOCHS)(self._make_order)
        self._ends: list[int] = []
        """With weights: stream positions at which the first epochs end."""

    def documents_of(self, epoch: int) -> np.ndarray:
        """The documents of an epoch in their order."""
        if self.weights is None:
            return keyed_permutation(len(self.lengths), self.seed, epoch)
        chosen = np.repeat(np.arange(len(self.lengths)), copies(self.weights, self.seed, epoch))
        return chosen[keyed_permutation(len(chosen), self.seed, epoch)]

    def _make_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        documents = self.documents_of(epoch)
        return documents, np.cumsum(self.lengths[documents], dtype=np.int64)

    def locate(self, position: int) -> tuple[int, int]:
        """The epoch that a position of the stream is in, and how far."""
        if self.weights is None:
            return divmod(position, self.epoch_tokens)
        while not self._ends or self._ends[-1] <= position:
            chosen = copies(self.weights, self.seed, len(self._ends))
            self._ends.append((self._ends[-1] if self._ends else 0) + int((self.lengths * chosen).sum(dtype=np.int64)))
        epoch = bisect_right(self._ends, position)
        return epoch, position - (self._ends[epoch - 1] if epoch else 0)

    def segments(self, start: int, length: int) -> Iterator[Segment]:
        """The runs of tokens that lie at stream positions [start, start + length)."""
        epoch, position = self.locate(start)
        while length > 0:
            documents, ends = self._order(epoch)
            rank = int(np.searchsorted(ends, position, side="right"))
            while length > 0 and rank < len(documents):
                document = int(documents[rank])
                begin = int(ends[rank]) - int(self.lengths[document])
                taken = min(length, int(ends[rank]) - position)
                yield Segment(document, position - begin, taken)
                position += taken
                length -= taken
                rank += 1
            epoch, position = epoch + 1, 0
