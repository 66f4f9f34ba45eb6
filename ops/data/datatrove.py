"""The index of datatrove and nanotron beside a shard's payload: `tokens.bin.index` and `tokens.bin.metadata`.

`datatrove.utils.dataset.DatatroveFileDataset` reads any file of raw ids (uint16 or uint32) whose document ends, in
tokens, stand as little-endian uint64 in the file of that name and `.index`. The metadata are three lines: the
tokenizer's name with the bytes of a token, the number of tokens, and the same for people.
"""

import numpy as np

from ops.data.megatron import BIN

INDEX = f"{BIN}.index"
METADATA = f"{BIN}.metadata"
_UNITS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def index_bytes(lengths: np.ndarray) -> bytes:
    """The index file of documents with these lengths in tokens."""
    return np.cumsum(lengths, dtype=np.int64).astype("<u8").tobytes()


def metadata_text(tokenizer_name: str, dtype: np.dtype, num_tokens: int) -> str:
    unit, sign = next(((unit, sign) for unit, sign in _UNITS if num_tokens >= unit), (1, ""))
    return f"{tokenizer_name}|{dtype.itemsize}\n{num_tokens}\n{num_tokens / unit:.3g} {sign}T"
