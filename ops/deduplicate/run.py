"""Stage `ops.deduplicate`: scored documents and clusters in, one document of each cluster out."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ops.deduplicate.config import DeduplicateConfig
from ops.errors import InputError
from ops.parts import Batch, Row, part_paths, read_rows, run_parts
from ops.schema import DEDUPLICATED
from ops.stage import Execution, Inputs, StageResult, one, reconcile


def run(config: DeduplicateConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Keep the survivors of `scored`.

    Memory: the cluster rows of this bucket's documents.

    Raises:
        InputError: when a document has no row in the clusters (they were made from other signatures).
    """
    scored = one(inputs, "scored")
    clusters = _clusters_of(scored, one(inputs, "dedup_clusters") / "clusters.parquet")

    def transform(rows: list[Row]) -> Batch:
        batch = Batch()
        for row in rows:
            found = clusters.get(row["doc_id"])
            if found is None:
                raise InputError(f"{scored}: document {row['doc_id']} is in no cluster; rebuild dedup_clusters")
            if found["kept"] or not (found["exact"] or config.drop_near):
                batch.keep({**row, "cluster_id": found["cluster_id"], "cluster_size": found["cluster_size"]})
            else:
                reason = "exact_duplicate" if found["exact"] else "near_duplicate"
                batch.drop(row, reason, f"{found['cluster_id']} jaccard {found['jaccard']:.4f}")
        return batch

    totals = run_parts(scored, out, DEDUPLICATED, transform, stage="deduplicate")
    return StageResult(counts=totals.counts, dropped=totals.dropped, checks=[reconcile(totals.counts, totals.dropped)])


def _clusters_of(scored: Path, clusters: Path) -> dict[str, dict[str, Any]]:
    """The cluster rows of the documents in `scored`, by doc_id; the file is sorted by crawl, others are not read."""
    doc_ids: list[str] = []
    crawls: set[str] = set()
    for part in part_paths(scored):
        for rows in read_rows(part, columns=["doc_id", "crawl"], batch_rows=1 << 14):
            doc_ids += [row["doc_id"] for row in rows]
            crawls.update(row["crawl"] for row in rows)
    try:
        source = ds.dataset(clusters, format="parquet")
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{clusters}: not a readable Parquet file: {error}") from error
    wanted = pc.field("crawl").isin(pa.array(sorted(crawls), pa.string()))
    wanted &= pc.field("doc_id").isin(pa.array(doc_ids, pa.string()))
    found: dict[str, dict[str, Any]] = {}
    for batch in source.to_batches(filter=wanted):
        found.update((row["doc_id"], row) for row in batch.to_pylist())
    return found
