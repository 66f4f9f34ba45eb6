"""Stage `ops.minhash`: scored documents in, signatures out; nothing is dropped."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ops.atomic import atomic_path
from ops.minhash.config import MinHashConfig
from ops.minhash.shingles import digest, normalise, shingle_hashes
from ops.minhash.signatures import band_keys, signatures_schema
from ops.parts import Batch, part_paths, read_rows, totals, unfinished, write_part
from ops.pool import each_part
from ops.stage import Execution, Inputs, StageResult, one, reconcile

COLUMNS = ["doc_id", "crawl", "text", "math_score"]


def run(config: MinHashConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write signatures and shingles of every part of `scored`. Counts `shingles` beside `in` and `out`."""
    source = one(inputs, "scored")
    names = [part.stem for part in part_paths(source)]
    work = partial(_make_part, config, source, out)
    each_part(unfinished(out, names), work, description="minhash", num_processes=execution.num_processes)
    sums = totals(out, names)
    return StageResult(counts=sums.counts, dropped=sums.dropped, checks=[reconcile(sums.counts, sums.dropped)])


def _make_part(config: MinHashConfig, source: Path, out: Path, name: str) -> None:
    batches = _batches(source / f"{name}.parquet", out, config)
    write_part(out, name, signatures_schema(config.num_bands), batches, stage="minhash")


def _batches(part: Path, out: Path, config: MinHashConfig) -> Iterator[Batch]:
    """Signature rows of a part. When they are used up its shingle file is complete, before the part's mark is set."""
    start = 0
    with atomic_path(out / "shingles" / f"{part.stem}.bin") as temporary, temporary.open("wb") as stream:
        for rows in read_rows(part, columns=COLUMNS):
            texts = [normalise(row["text"]) for row in rows]
            shingles = shingle_hashes(texts, config.ngram)
            key_DB = band_keys(shingles, config)
            batch = Batch()
            for row, text, items, keys in zip(rows, texts, shingles, key_DB.tolist(), strict=True):
                stream.write(items.astype("<u4").tobytes())
                batch.keep(
                    {
                        "doc_id": row["doc_id"],
                        "crawl": row["crawl"],
                        "math_score": row["math_score"],
                        "num_chars": len(row["text"]),
                        "digest": digest(text),
                        "shingle_start": start,
                        "num_shingles": len(items),
                        **{f"band_{band:03d}": key for band, key in enumerate(keys)},
                    }
                )
                start += len(items)
                batch.counts["shingles"] += len(items)
            yield batch
