"""Rows of tokens as training and validation get them. Shapes: B rows of a batch, L positions of a row."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

IGNORED = -100
"""The label of a position that has none."""


@dataclass(frozen=True)
class Batch:
    """Rows of tokens with their documents.

    Attributes:
        input_ids: (B, L) int64.
        labels: (B, L) int64, the token behind each position; -100 where that is padding or of another document.
        seq_idx: (B, L) int32, number of the document within its row, from 0: attention and the state of an SSM must
            not pass from one number to the next.
        doc_ids: of each row, the documents in it, `doc_ids[row][seq_idx[row, position]]`. Padding has the number
            behind the last document.
        more: (B, L, ...) arrays by name that only some objectives need.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    seq_idx: np.ndarray
    doc_ids: list[list[str]]
    more: Mapping[str, np.ndarray] = field(default_factory=dict)
