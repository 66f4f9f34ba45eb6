"""Encode the documents of a corpus part."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from ops.data.megatron import token_dtype
from ops.data.schema import TOKENIZED
from ops.parts import Batch, Row, read_rows
from ops.tokenize.native import NativeEncoder, can_merge, library
from ops.tokenize.pieces import PieceTable, can_cut
from ops.tokenizer.files import LoadedTokenizer

Encode = Callable[[list[str]], list[np.ndarray]]
CHUNK_CHARACTERS = 1_000_000
"""Documents are encoded together up to so many characters: about 100 bytes of memory for each token, in two chunks."""

COMPUTED = {"source", "text_bytes", "token_start", "token_length"}
COLUMNS = ["text", *(name for name in TOKENIZED.names if name not in COMPUTED)]


def source_of(url: str) -> str:
    """The host of a URL, lower case; `(no host)` when it has none."""
    try:
        return urlsplit(url).hostname or "(no host)"
    except ValueError:
        return "(no host)"


def encode_documents(texts: list[str], loaded: LoadedTokenizer) -> list[np.ndarray]:
    """Token ids of each text with the EOD behind it, by the tokenizer alone; only the EOD for an empty text."""
    dtype = token_dtype(loaded.vocab_size)
    encodings = loaded.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [np.array([*encoding.ids, loaded.eod_id], dtype=dtype) for encoding in encodings]


def encode_part(
    path: Path, payload: Path, loaded: LoadedTokenizer, encode: Encode, *, round_trip_documents: int
) -> Iterator[Batch]:
    """Encode the documents of a corpus part; their tokens go to the file `payload`, their rows into the batches.

    `token_start` counts from the beginning of the payload. Beside tokens and bytes the batches count what the checks
    ask for: documents compared (`round_trip`), those changed, those that the tokenizer alone encodes otherwise
    (`encoded_otherwise`), and EODs inside documents (`eod_inside`).
    """
    start, compared = 0, 0
    with payload.open("wb") as stream:
        for rows, documents in _encoded(path, encode):
            batch = Batch()
            for row, ids in zip(rows, documents, strict=True):
                if len(ids) == 1:
                    batch.drop(row, "no_tokens", f"{len(row['text'])} characters")
                    continue
                stream.write(ids.tobytes())
                text = row.pop("text")
                batch.keep(
                    {
                        **row,
                        "source": source_of(row["url"]),
                        "text_bytes": len(text.encode()),
                        "token_start": start,
                        "token_length": len(ids),
                    }
                )
                start += len(ids)
                batch.counts["eod_inside"] += int(np.count_nonzero(ids[:-1] == loaded.eod_id))
                if compared < round_trip_documents:
                    compared += 1
                    batch.counts["round_trip"] += 1
                    batch.counts["round_trip_changed"] += _decode(ids[:-1], loaded) != text
                    batch.counts["encoded_otherwise"] += not np.array_equal(ids, encode_documents([text], loaded)[0])
            batch.counts["tokens"] = sum(row["token_length"] for row in batch.kept)
            batch.counts["text_bytes"] = sum(row["text_bytes"] for row in batch.kept)
            yield batch


def encoder(loaded: LoadedTokenizer) -> Encode:
    """The fastest way to what `encode_documents` gives."""
    dtype = token_dtype(loaded.vocab_size)
    described = json.loads(loaded.tokenizer.to_str())
    if can_merge(described) and library() is not None:
        return NativeEncoder(described, loaded.eod_id, dtype).encode
    if can_cut(described):
        return PieceTable(loaded.tokenizer, loaded.eod_id, dtype).encode
    return partial(encode_documents, loaded=loaded)


def _encoded(path: Path, encode: Encode) -> Iterator[tuple[list[Row], list[np.ndarray]]]:
    """Chunks of rows with their tokens; one chunk is encoded (without the interpreter's lock) while one is written."""
    with ThreadPoolExecutor(1) as worker:
        pending: deque[tuple[list[Row], Future[list[np.ndarray]]]] = deque()
        for rows in _chunks(path):
            pending.append((rows, worker.submit(encode, [row["text"] for row in rows])))
            if len(pending) > 1:
                done, encoded = pending.popleft()
                yield done, encoded.result()
        for done, encoded in pending:
            yield done, encoded.result()


def _decode(ids: np.ndarray, loaded: LoadedTokenizer) -> str:
    return loaded.tokenizer.decode(ids.tolist(), skip_special_tokens=False)


def _chunks(path: Path) -> Iterator[list[Row]]:
    """Rows of a part in order, in chunks of bounded text."""
    for rows in read_rows(path, columns=COLUMNS):
        chunk: list[Row] = []
        characters = 0
        for row in rows:
            chunk.append(row)
            characters += len(row["text"])
            if characters >= CHUNK_CHARACTERS:
                yield chunk
                chunk, characters = [], 0
        if chunk:
            yield chunk
