"""Best-fit packing: rows that cut no document which fits into one.

Documents longer than a row give whole rows and a rest; the rests and the shorter documents are packed by best fit
decreasing (Ding et al. 2024, arXiv 2404.10830): the longest first, each into the fullest row that still has room. All
pieces of one length are placed at once, so that the work grows with the number of different lengths, not of documents.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from ops.data.order import DocumentStream, Segment, keyed_permutation

_CACHED_EPOCHS = 2


def best_fit(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """The row of each piece, rows counted from 0; as best fit decreasing does, one piece after the other.

    Args:
        lengths: of the pieces, 1 to `capacity`; equal ones are placed in their order.
        capacity: of a row.
    """
    rows = np.empty(len(lengths), np.int64)
    order = np.argsort(-lengths, kind="stable")
    bounds = [*np.flatnonzero(np.diff(lengths[order], prepend=-1)).tolist(), len(order)]
    by_room: dict[int, list[int]] = {}  # rows by the room that is left in them
    rooms: list[int] = []  # its keys, ascending
    num_rows = 0

    def put(room: int, some: Sequence[int]) -> None:
        if room and some:
            if room not in by_room:
                by_room[room] = []
                insort(rooms, room)
            by_room[room].extend(some)

    for start, end in pairwise(bounds):
        length = int(lengths[order[start]])
        while start < end:
            at = bisect_left(rooms, length)
            room = rooms[at] if at < len(rooms) else capacity
            each = room // length
            wanted = -(-(end - start) // each)
            if at < len(rooms):
                taken, left = by_room[room][:wanted], by_room[room][wanted:]
                if left:
                    by_room[room] = left
                else:
                    del by_room[room], rooms[at]
            else:
                taken = list(range(num_rows, num_rows + wanted))
                num_rows += wanted
            placed = min(end - start, len(taken) * each)
            rows[order[start : start + placed]] = np.repeat(taken, each)[:placed]
            put(room - each * length, taken[:-1])
            put(room - (placed - (len(taken) - 1) * each) * length, taken[-1:])
            start += placed
    return rows


@dataclass(frozen=True)
class _Epoch:
    """The rows of an epoch in their order: row r is pieces `first[r]` to `first[r + 1]`."""

    first: np.ndarray
    documents: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    order: np.ndarray


class PackedStream:
    """The documents of a stream's epochs packed into rows of `capacity` tokens, for ever.

    Memory: five numbers of 8 bytes a piece for each of the two epochs kept at hand.
    """

    def __init__(self, stream: DocumentStream, capacity: int) -> None:
        self.stream = stream
        self.capacity = capacity
        self._epoch = lru_cache(maxsize=_CACHED_EPOCHS)(self._pack)
        self._ends: list[int] = []

    def row(self, number: int) -> list[Segment]:
        """The pieces of documents in a row: a pure function of its number."""
        epoch, place = self.locate(number)
        packed = self._epoch(epoch)
        row = int(packed.order[place])
        pieces = range(int(packed.first[row]), int(packed.first[row + 1]))
        return [Segment(int(packed.documents[i]), int(packed.offsets[i]), int(packed.lengths[i])) for i in pieces]

    def locate(self, number: int) -> tuple[int, int]:
        """The epoch of a row, and its place there."""
        if self.stream.weights is None:
            return divmod(number, len(self._epoch(0).order))
        while not self._ends or self._ends[-1] <= number:
            self._ends.append((self._ends[-1] if self._ends else 0) + len(self._epoch(len(self._ends)).order))
        epoch = bisect_right(self._ends, number)
        return epoch, number - (self._ends[epoch - 1] if epoch else 0)

    def _pack(self, epoch: int) -> _Epoch:
        documents = self.stream.documents_of(epoch)
        whole, rest = np.divmod(self.stream.lengths[documents].astype(np.int64), self.capacity)
        long = np.repeat(documents, whole)
        ends = np.cumsum(whole)
        cut = (np.arange(len(long)) - np.repeat(ends - whole, whole)) * self.capacity
        some = rest > 0
        packed = best_fit(rest[some], self.capacity)
        by_row = np.argsort(packed, kind="stable")
        sizes = np.bincount(packed) if len(packed) else np.empty(0, np.int64)
        num_rows = len(long) + len(sizes)
        return _Epoch(
            first=np.concatenate(
                [np.arange(len(long)), len(long) + np.cumsum(sizes) - sizes, [len(long) + len(packed)]]
            ),
            documents=np.concatenate([long, documents[some][by_row]]),
            offsets=np.concatenate([cut, (whole * self.capacity)[some][by_row]]),
            lengths=np.concatenate([np.full(len(long), self.capacity), rest[some][by_row]]),
            order=keyed_permutation(num_rows, self.stream.seed, -1 - epoch),
        )
