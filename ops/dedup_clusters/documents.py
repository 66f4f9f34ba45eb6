"""The signatures of all documents, in order of rank, and their shingles on demand."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ops.errors import InputError
from ops.minhash.hashing import U64
from ops.minhash.shingles import U32
from ops.parts import part_paths

I64 = npt.NDArray[np.int64]

COLUMNS = ["doc_id", "crawl", "math_score", "num_chars", "digest", "shingle_start", "num_shingles"]
RANK = [("math_score", "descending"), ("num_chars", "descending"), ("crawl", "ascending"), ("doc_id", "ascending")]
_MAX_SHINGLES = 1 << 22  # shingles compared at a time


class Documents:
    """Documents 0, 1, 2, ... from the best rank down.

    Attributes:
        doc_id, crawl: Arrow columns.
        digest_DX: exact digests as two 64-bit words each, [documents, 2].
        num_shingles: per document.

    Raises:
        InputError: when a part cannot be read, lacks a column, was made with other bands than the first, or holds a
            doc_id that another part holds too.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        self.parts = [part for directory in directories for part in part_paths(directory)]
        schemas = [_schema(part) for part in self.parts]
        self.bands = [name for name in schemas[0].names if name.startswith("band_")]
        for part, schema in zip(self.parts, schemas, strict=True):
            if [name for name in schema.names if name.startswith("band_")] != self.bands:
                raise InputError(f"{part}: its bands are not those of {self.parts[0]}; make both with one config")
        tables = []
        for index, part in enumerate(self.parts):
            table = _read(part, COLUMNS)
            for position, name in enumerate(["doc_id", "crawl"]):  # 64-bit offsets: all crawls exceed 2 GiB of ids
                table = table.set_column(position, name, table[name].cast(pa.large_string()))
            tables.append(table.append_column("part", pa.repeat(pa.scalar(index, pa.int32()), len(table))))
        table = pa.concat_tables(tables)
        keys = table.select([name for name, _ in RANK])
        keys = keys.append_column("position", pa.array(np.arange(len(table))))
        self._order: I64 = keys.sort_by(RANK)["position"].to_numpy()
        del keys
        order = pa.array(self._order)
        self.doc_id = table["doc_id"].take(order).combine_chunks()
        self.crawl = table["crawl"].take(order).combine_chunks()
        self.num_shingles: I64 = table["num_shingles"].to_numpy()[self._order].astype(np.int64)
        self._start: I64 = table["shingle_start"].to_numpy()[self._order]
        self._part = table["part"].to_numpy()[self._order]
        digests = table["digest"].take(order).combine_chunks()
        self.digest_DX: U64 = np.frombuffer(digests.buffers()[1] or b"", dtype="<u8").reshape(-1, 2)
        self._check_unique()
        self._shingles_of_part = lru_cache(maxsize=64)(self._open_shingles)

    def __len__(self) -> int:
        return len(self._order)

    def band(self, name: str) -> U64:
        """One band's keys, by rank."""
        columns = [_read(part, [name])[name].to_numpy() for part in self.parts]
        return np.concatenate(columns)[self._order]

    def shingles(self, document: int) -> U32:
        """The sorted distinct shingle hashes of a document."""
        start = int(self._start[document])
        return self._shingles_of_part(int(self._part[document]))[start : start + int(self.num_shingles[document])]

    def jaccard(self, hub: int, others: I64, *, at_least: float) -> npt.NDArray[np.float64]:
        """Exact Jaccard similarity of `hub` with each of `others`; all must have shingles.

        Where the sizes alone show that it is below `at_least` the result is 0 and nothing is read.
        """
        result = np.zeros(len(others))
        own = self.shingles(hub)
        sizes = self.num_shingles[others]
        possible = np.flatnonzero(np.minimum(sizes, len(own)) >= at_least * np.maximum(sizes, len(own)))
        for chunk in _chunks(possible, sizes[possible]):
            arrays = [self.shingles(int(others[index])) for index in chunk]
            all_S = np.concatenate(arrays)
            found_S = np.searchsorted(own, all_S)
            np.minimum(found_S, len(own) - 1, out=found_S)
            starts = np.cumsum([0, *(len(array) for array in arrays[:-1])])
            shared = np.add.reduceat((own[found_S] == all_S).astype(np.int64), starts)
            result[chunk] = shared / (sizes[chunk] + len(own) - shared)
        return result

    def _open_shingles(self, part: int) -> U32:
        path = self.parts[part].parent / "shingles" / f"{self.parts[part].stem}.bin"
        expected = int((self._start + self.num_shingles)[self._part == part].max(initial=0)) * 4
        if not path.exists() or path.stat().st_size != expected:
            raise InputError(f"{path}: is missing, or not of {expected} bytes as {self.parts[part]} says")
        return np.memmap(path, dtype="<u4", mode="r")

    def _check_unique(self) -> None:
        if len(self) == len(self.doc_id.unique()):
            return
        counts = self.doc_id.value_counts().to_pylist()
        twice = next(item["values"] for item in counts if item["counts"] > 1)
        raise InputError(f"input 'minhash': document {twice} is there twice")


def _read(part: Path, columns: list[str]) -> pa.Table:
    with pq.ParquetFile(part) as file:
        return file.read(columns=columns)


def _schema(part: Path) -> pa.Schema:
    try:
        schema = pq.read_schema(part)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{part}: not a readable Parquet file: {error}") from error
    missing = set(COLUMNS) - set(schema.names)
    if missing:
        raise InputError(f"{part}: lacks the columns {sorted(missing)}")
    return schema


def _chunks(indices: I64, sizes: I64) -> list[I64]:
    """Cut `indices` so that each piece has about `_MAX_SHINGLES` shingles."""
    if not len(indices):
        return []
    bins = np.cumsum(sizes) // _MAX_SHINGLES
    return np.split(indices, np.flatnonzero(np.diff(bins)) + 1)
