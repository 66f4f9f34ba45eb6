"""Documents as sparse vectors: hashed words, LaTeX commands and pairs of neighbours."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ops.score.excerpt import crop

_TOKEN = re.compile(r"\\[A-Za-z]+|[^\W\d_]+|\d+|[^\w\s]|_")
_NUMBER = "0"


def tokens_of(text: str) -> list[str]:
    """Words in lower case, LaTeX commands, signs; every number is the same token."""
    return [_NUMBER if token[0].isdigit() else token.lower() for token in _TOKEN.findall(text)]


@dataclass(frozen=True)
class Sparse:
    """Rows of a matrix: row i has `values[starts[i]:starts[i+1]]` in the columns `columns[...]`."""

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def times(self, weights: np.ndarray) -> np.ndarray:
        """Matrix times a vector, a float64 for each row."""
        products = np.concatenate([[0.0], np.cumsum(self.values * weights[self.columns])])
        return products[self.starts[1:]] - products[self.starts[:-1]]

    def transposed_times(self, rows: np.ndarray, num_columns: int) -> np.ndarray:
        """The transposed matrix times a vector."""
        spread = np.repeat(rows, np.diff(self.starts)) * self.values
        return np.bincount(self.columns, weights=spread, minlength=num_columns)


def vectors(texts: Sequence[str], num_features: int, max_chars: int) -> Sparse:
    """Unit vectors of 1 + log(count) of each token and pair of neighbours, hashed by CRC-32."""
    starts, columns, values = [0], [], []
    for text in texts:
        words = [token.encode() for token in tokens_of(crop(text, max_chars))]
        hashed = [zlib.crc32(word) for word in words]
        hashed += [zlib.crc32(right, left) for left, right in zip(hashed, words[1:], strict=False)]
        found, counts = np.unique(np.array(hashed, np.int64) & (num_features - 1), return_counts=True)
        weight = 1.0 + np.log(counts)
        columns.append(found)
        values.append(weight / max(float(np.sqrt((weight**2).sum())), 1e-12))
        starts.append(starts[-1] + len(found))
    empty = np.empty(0)
    return Sparse(
        np.array(starts),
        np.concatenate([*columns, empty]).astype(np.int64),
        np.concatenate([*values, empty]),
    )
