"""Follow documents through the stages behind extraction, in order and without holding a part in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.errors import InputError
from ops.parts import Row, read_rows


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A document that a stage did not keep."""

    stage: str
    reason: str


class Stage:
    """One part of a stage's artefact: kept and dropped rows, both in the order in which the documents came in."""

    def __init__(self, name: str, directory: Path, part: str, columns: Sequence[str]) -> None:
        self.name = name
        self._path = directory / f"{part}.parquet"
        self._kept = _Rows(self._path, ["doc_id", *columns])
        self._dropped = _Rows(directory / "dropped" / f"{part}.parquet", ["doc_id", "reason"])

    def take(self, doc_id: str) -> Row | Dropped:
        """What became of the next document that came in.

        Raises:
            InputError: when the document is neither among the kept nor among the dropped.
        """
        row = self._kept.take(doc_id)
        if row is not None:
            return row
        dropped = self._dropped.take(doc_id)
        if dropped is None:
            raise InputError(f"{self._path}: document {doc_id} is neither kept nor dropped by stage {self.name!r}")
        return Dropped(stage=self.name, reason=dropped["reason"])

    def close(self) -> None:
        """
        Raises:
            InputError: when rows are left that no document asked for.
        """
        for rows in (self._kept, self._dropped):
            left = rows.peek()
            if left is not None:
                raise InputError(f"{self._path}: document {left['doc_id']} did not come into stage {self.name!r}")


class _Rows:
    def __init__(self, path: Path, columns: list[str]) -> None:
        self._rows: Iterator[Row] = (row for rows in read_rows(path, columns=columns) for row in rows)
        self._next = next(self._rows, None)

    def peek(self) -> Row | None:
        return self._next

    def take(self, doc_id: str) -> Row | None:
        """The next row if it is this document's."""
        row = self._next
        if row is None or row["doc_id"] != doc_id:
            return None
        self._next = next(self._rows, None)
        return row
