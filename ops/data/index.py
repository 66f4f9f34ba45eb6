"""`index.npy` of a training set: its documents, for readers that have NumPy alone."""

from pathlib import Path

import numpy as np

from ops.errors import InputError

INDEX = "index.npy"
SPLITS = ("train", "validation")

INDEX_DTYPE = np.dtype(
    [
        ("doc_id", "S16"),  # see ops.schema.doc_id
        ("token_start", "<i8"),  # in its shard
        ("token_length", "<i8"),  # with its EOD
        ("text_bytes", "<i8"),  # UTF-8 bytes of its text
        ("shard", "<i4"),
        ("source", "<i4"),  # index into manifest["sources"]
        ("split", "u1"),  # index into SPLITS
        ("phases", "u1"),  # bit 0: phase 1, bit 1: phase 2
    ]
)
"""A row: one document."""


def read_index(path: Path, num_documents: int) -> np.ndarray:
    """Map the index into memory.

    Raises:
        InputError: when it cannot be read, or is no index of so many documents.
    """
    try:
        index = np.load(path, mmap_mode="r" if num_documents else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable index: {error}") from error
    if index.dtype != INDEX_DTYPE or index.shape != (num_documents,):
        raise InputError(f"{path}: not an index of {num_documents} documents (dtype {index.dtype}, {index.shape})")
    return index
