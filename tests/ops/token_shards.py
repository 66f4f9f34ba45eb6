"""Token shards made by hand for the tests of what reads them, without the code that writes real ones."""

import hashlib
import itertools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ops.data.schema import TOKENIZED

EOD = 0


def make_document(number: int, length: int, *, source: str = "a.example", score: int = 5, cluster: str = "") -> dict:
    """A document of `length` tokens, the EOD counted."""
    doc_id = f"{number:016x}"
    return {
        "doc_id": doc_id,
        "crawl": "CC-MAIN-2024-10",
        "url": f"https://{source}/{number}",
        "warc_filename": "crawl-data/x.warc.gz",
        "warc_record_offset": number * 1000,
        "warc_record_length": 900,
        "title": None,
        "source": source,
        "language": "en",
        "math_score": float(score),
        "math_int_score": score,
        "cluster_id": cluster or doc_id,
        "cleaner": "rules",
        "text_bytes": 3 * (length - 1),
        "token_length": length,
    }


def write_shard(
    directory: Path, documents: list[dict[str, Any]], *, vocab_size: int = 50_000, first_id: int = 1
) -> list[list[int]]:
    """Write a shard of the given documents; returns the tokens of each, all different until the ids run out."""
    directory.mkdir(parents=True)
    dtype = "uint16" if vocab_size < 65500 else "int32"
    tokens, next_id, start = [], first_id, 0
    for document in documents:
        text = [(next_id + i) % (vocab_size - 1) + 1 for i in range(document["token_length"] - 1)]
        next_id += len(text)
        tokens.append([*text, EOD])
    payload = np.array([token for document in tokens for token in document], dtype=dtype).tobytes()
    (directory / "tokens.bin").write_bytes(payload)
    rows = []
    for document in documents:
        rows.append({**document, "token_start": start})
        start += document["token_length"]
    pq.write_table(pa.Table.from_pylist(rows, schema=TOKENIZED), directory / "documents.parquet", row_group_size=7)
    meta = {
        "dtype": dtype,
        "num_tokens": start,
        "num_documents": len(documents),
        "sha256": hashlib.sha256(payload).hexdigest(),
        "vocab_size": vocab_size,
        "eod_id": EOD,
        "tokenizer_sha256": "00" * 32,
    }
    (directory / "tokens.json").write_text(json.dumps(meta))
    return tokens


def read_megatron(directory: Path) -> list[list[int]]:
    """The documents of a Megatron indexed dataset, by the description of the format and nothing else."""
    data = (directory / "tokens.idx").read_bytes()
    assert data[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", data, 9)
    assert version == 1
    letter, size = {8: ("H", 2), 4: ("i", 4)}[code]
    at = 34
    lengths = struct.unpack_from(f"<{sequences}i", data, at)
    offsets = struct.unpack_from(f"<{sequences}q", data, at + 4 * sequences)
    ends = struct.unpack_from(f"<{documents}q", data, at + 12 * sequences)
    assert len(data) == at + 12 * sequences + 8 * documents
    assert ends[0] == 0
    assert ends[-1] == sequences
    payload = (directory / "tokens.bin").read_bytes()
    read = [struct.unpack_from(f"<{n}{letter}", payload, offset) for n, offset in zip(lengths, offsets, strict=True)]
    assert sum(lengths) * size == len(payload)
    return [[token for piece in read[a:b] for token in piece] for a, b in itertools.pairwise(ends)]
