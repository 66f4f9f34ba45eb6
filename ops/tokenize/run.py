"""Run `ops.tokenize`."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ops.atomic import atomic_path, write_bytes, write_json
from ops.data import datatrove
from ops.data.megatron import BIN, DOCUMENTS, IDX, META, ShardMeta, index_bytes, read_meta, token_dtype
from ops.data.schema import TOKENIZED
from ops.parts import Batch, Totals, mark_path, parquet_writer, part_paths, totals, write_part
from ops.progress import track
from ops.stage import Check, Execution, Inputs, StageResult, one, reconcile
from ops.tokenize.config import TokenizeConfig
from ops.tokenize.encode import Encode, encode_part, encoder
from ops.tokenizer.files import LoadedTokenizer, limit_threads, load_tokenizer

COPY_BYTES = 1 << 24
TABLE_ROWS = 8192  # rows of a row group in the document table


def run(config: TokenizeConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Tokenize a corpus (inputs `corpus`, `tokenizer`).

    Every part is encoded into a piece of its own with a completion mark; at the end the pieces are joined in order.

    Memory: one batch of documents with their encodings, and some 30 bytes a document of the shard.

    Raises:
        InputError: when the corpus or the tokenizer cannot be read.
    """
    limit_threads(execution.threads)
    corpus = one(inputs, "corpus")
    loaded = load_tokenizer(one(inputs, "tokenizer"))
    names = [path.stem for path in part_paths(corpus)]
    if not (out / META).exists():
        encode = encoder(loaded)
        for name in track(names, description="tokenize", unit="part"):
            if not mark_path(out, name).exists():
                batches = _encode_piece(corpus / f"{name}.parquet", out / f"{name}.bin", loaded, encode, config)
                write_part(out, name, TOKENIZED, batches, stage="tokenize")
        _join(names, out, loaded)
    for name in names:
        (out / f"{name}.bin").unlink(missing_ok=True)
        (out / f"{name}.parquet").unlink(missing_ok=True)
    sums = totals(out, names)
    counts = {name: sums.counts.get(name, 0) for name in ("in", "out", "tokens", "text_bytes")}
    bytes_per_token = round(counts["text_bytes"] / counts["tokens"], 4) if counts["tokens"] else None
    return StageResult(
        counts=counts,
        dropped=sums.dropped,
        checks=[reconcile(sums.counts, sums.dropped), *_checks(out, sums, loaded)],
        summary={"bytes_per_token": bytes_per_token, "dtype": token_dtype(loaded.vocab_size).name},
    )


def _encode_piece(
    path: Path, payload: Path, loaded: LoadedTokenizer, encode: Encode, config: TokenizeConfig
) -> Iterator[Batch]:
    with atomic_path(payload) as temporary:
        yield from encode_part(path, temporary, loaded, encode, round_trip_documents=config.round_trip_documents)


def _join(names: Sequence[str], out: Path, loaded: LoadedTokenizer) -> None:
    """Join the pieces into the shard; `tokens.json`, written last, says that it is whole."""
    dtype = token_dtype(loaded.vocab_size)
    digest = hashlib.sha256()
    with atomic_path(out / BIN) as temporary, temporary.open("wb") as joined:
        for name in names:
            with (out / f"{name}.bin").open("rb") as piece:
                while data := piece.read(COPY_BYTES):
                    digest.update(data)
                    joined.write(data)
    lengths = _join_tables(names, out, dtype)
    write_bytes(out / IDX, index_bytes(lengths, dtype))
    write_bytes(out / datatrove.INDEX, datatrove.index_bytes(lengths))
    name = f"sha256-{loaded.sha256[:16]}"
    write_bytes(out / datatrove.METADATA, datatrove.metadata_text(name, dtype, int(lengths.sum())).encode())
    meta = ShardMeta(
        dtype=dtype,
        num_tokens=int(lengths.sum()),
        num_documents=len(lengths),
        sha256=digest.hexdigest(),
        vocab_size=loaded.vocab_size,
        eod_id=loaded.eod_id,
        tokenizer_sha256=loaded.sha256,
    )
    write_json(out / META, meta.to_json())


def _join_tables(names: Sequence[str], out: Path, dtype: np.dtype) -> np.ndarray:
    """Write `documents.parquet`, with `token_start` counted from the beginning of the shard; returns the lengths."""
    column = TOKENIZED.get_field_index("token_start")
    lengths: list[np.ndarray] = []
    start = 0
    with parquet_writer(out / DOCUMENTS, TOKENIZED) as writer:
        for name in names:
            with pq.ParquetFile(out / f"{name}.parquet") as piece:
                for batch in piece.iter_batches(batch_size=TABLE_ROWS):
                    table = pa.Table.from_batches([batch], schema=TOKENIZED)
                    starts = pa.array(table["token_start"].to_numpy() + start, type=pa.int64())
                    writer.write_table(table.set_column(column, TOKENIZED.field(column), starts))
                    lengths.append(table["token_length"].to_numpy())
            start += (out / f"{name}.bin").stat().st_size // dtype.itemsize
    return np.concatenate(lengths) if lengths else np.empty(0, np.int64)


def _places(out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Where the documents of the shard begin, and their lengths."""
    table = pq.read_table(out / DOCUMENTS, columns=["token_start", "token_length"])
    return table["token_start"].to_numpy(), table["token_length"].to_numpy()


def _checks(out: Path, sums: Totals, loaded: LoadedTokenizer) -> list[Check]:
    dtype = read_meta(out).dtype
    start_D, length_D = _places(out)
    end_D = np.cumsum(length_D)
    ends = int(end_D[-1]) if len(end_D) else 0
    payload_tokens = (out / BIN).stat().st_size // dtype.itemsize
    highest, eods_at_ends, place = -1, 0, 0
    with (out / BIN).open("rb") as stream:
        while len(ids_T := np.fromfile(stream, dtype=dtype, count=COPY_BYTES // dtype.itemsize)):
            highest = max(highest, int(ids_T.max()))
            first, after = np.searchsorted(end_D, [place + 1, place + len(ids_T) + 1])
            eods_at_ends += int(np.count_nonzero(ids_T[end_D[first:after] - 1 - place] == loaded.eod_id))
            place += len(ids_T)
    return [
        Check(
            name="lengths_add_up",
            passed=bool((start_D == end_D - length_D).all()) and ends == payload_tokens == sums.counts.get("tokens", 0),
            description="the documents of the table follow each other and cover the tokens of the payload exactly",
            metadata={"documents": ends, "payload": payload_tokens, "encoded": sums.counts.get("tokens", 0)},
        ),
        Check(
            name="ids_in_vocabulary",
            passed=highest < loaded.vocab_size,
            description="every id in the payload is below the vocabulary size",
            metadata={"highest": highest, "vocab_size": loaded.vocab_size},
        ),
        Check(
            name="eod_ends_documents",
            passed=eods_at_ends == sums.counts["out"] and sums.counts.get("eod_inside", 0) == 0,
            description="every document ends with EOD and holds none before",
            metadata={
                "documents": sums.counts["out"],
                "at_ends": eods_at_ends,
                "inside": sums.counts.get("eod_inside", 0),
            },
        ),
        Check(
            name="round_trip",
            passed=sums.counts.get("round_trip_changed", 0) == sums.counts.get("encoded_otherwise", 0) == 0,
            description="the first documents of every part: decoding gives their text exactly, and the tokenizer alone "
            "encodes them alike",
            metadata={
                "documents": sums.counts.get("round_trip", 0),
                "changed": sums.counts.get("round_trip_changed", 0),
                "encoded_otherwise": sums.counts.get("encoded_otherwise", 0),
            },
        ),
    ]
