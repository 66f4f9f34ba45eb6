"""From a token back to the page it came from."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ops.data.megatron import DOCUMENTS, map_tokens, read_meta
from ops.errors import InputError


def locate(shard: Path, token: int) -> dict[str, Any]:
    """The document that token number `token` of a shard belongs to.

    Returns:
        The document's row of the shard's document table, with `token_in_shard`, `offset_in_document` and `token_id`.

    Raises:
        InputError: when the shard has no such token.
    """
    meta = read_meta(shard)
    if not 0 <= token < meta.num_tokens:
        raise InputError(f"{shard}: has {meta.num_tokens} tokens, there is no token {token}")
    with pq.ParquetFile(shard / DOCUMENTS) as table:
        for group in range(table.num_row_groups):
            starts = table.read_row_group(group, columns=["token_start", "token_length"])
            end = starts["token_start"][-1].as_py() + starts["token_length"][-1].as_py()
            if token < end:
                row = int(np.searchsorted(starts["token_start"].to_numpy(), token, side="right")) - 1
                document = table.read_row_group(group).slice(row, 1).to_pylist()[0]
                break
        else:
            raise InputError(f"{shard / DOCUMENTS}: covers no token {token} of {meta.num_tokens}")
    return {
        **document,
        "token_in_shard": token,
        "offset_in_document": token - document["token_start"],
        "token_id": int(map_tokens(shard, meta.dtype, meta.num_tokens)[token]),
    }
