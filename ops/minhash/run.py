"""Stage `ops.minhash`: scored documents in, signatures out; nothing is dropped."""

from collections.abc import Iterator
from pathlib import Path

from ops.atomic import atomic_path
from ops.minhash.config import MinHashConfig
from ops.minhash.shingles import digest, normalise, shingle_hashes
from ops.minhash.signatures import band_keys, signatures_schema
from ops.parts import Batch, mark_path, part_paths, read_rows, totals, write_part
from ops.progress import track
from ops.stage import Execution, Inputs, StageResult, one, reconcile

COLUMNS = ["doc_id", "crawl", "text", "math_score"]


def run(config: MinHashConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write signatures and shingles of every part of `scored`. Counts `shingles` beside `in` and `out`."""
    parts = part_paths(one(inputs, "scored"))
    schema = signatures_schema(config.num_bands)
    for part in track(parts, description="minhash", unit="part"):
        if not mark_path(out, part.stem).exists():
            write_part(out, part.stem, schema, _batches(part, out, config), stage="minhash")
    sums = totals(out, [part.stem for part in parts])
    return StageResult(counts=sums.counts, dropped=sums.dropped, checks=[reconcile(sums.counts, sums.dropped)])


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
