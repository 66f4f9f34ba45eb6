"""The order of training: an endless stream of documents that is a pure function of a seed.

In every epoch all documents come once, in an order keyed by (seed, epoch). The stream is never stored: where any
position lies follows from the document lengths, so that nothing has to be saved to go on after a kill or on another
number of processes.
"""

import hashlib
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
    key = np.uint64(int.from_bytes(hashlib.sha256(f"{seed}:{epoch}".encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN + key
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(z ^ (z >> np.uint64(31)), kind="stable")


@dataclass(frozen=True)
class Segment:
    """A run of tokens of one document in the stream."""

    document: int  # index into the lengths the stream was made of
    offset: int  # of its first token, in the document
    length: int  # tokens
    instance: int  # which document of the stream, counted over epochs: a document met again has another one


class DocumentStream:
    """Documents of given lengths, all of them once in each epoch, for ever.

    Args:
        lengths: tokens of each document, all positive, at least one document.
        seed: keys the order of every epoch.

    Memory: 16 bytes a document for each of the two epochs kept at hand, beside the lengths.
    """

    def __init__(self, lengths: np.ndarray, seed: int) -> None:
        if len(lengths) == 0 or int(lengths.min()) <= 0:
            raise ValueError("a stream needs at least one document, each of at least one token")
        self.lengths = lengths
        self.seed = seed
        self.epoch_tokens = int(lengths.sum(dtype=np.int64))
        self._order = lru_cache(maxsize=_CACHED_EPOCHS)(self._make_order)

    def _make_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        documents = keyed_permutation(len(self.lengths), self.seed, epoch)
        return documents, np.cumsum(self.lengths[documents], dtype=np.int64)

    def segments(self, start: int, length: int) -> Iterator[Segment]:
        """The runs of tokens that lie at stream positions [start, start + length)."""
        epoch, position = divmod(start, self.epoch_tokens)
        while length > 0:
            documents, ends = self._order(epoch)
            rank = int(np.searchsorted(ends, position, side="right"))
            while length > 0 and rank < len(documents):
                document = int(documents[rank])
                begin = int(ends[rank]) - int(self.lengths[document])
                taken = min(length, int(ends[rank]) - position)
                yield Segment(document, position - begin, taken, epoch * len(documents) + rank)
                position += taken
                length -= taken
                rank += 1
            epoch, position = epoch + 1, 0
