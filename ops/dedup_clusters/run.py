"""Stage `ops.dedup_clusters`: all signatures in, one row a document out."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from ops.atomic import write_json
from ops.dedup_clusters.cluster import cluster
from ops.dedup_clusters.config import DedupClustersConfig
from ops.dedup_clusters.documents import I64, Documents
from ops.parts import parquet_writer
from ops.stage import Check, Execution, Inputs, StageResult, many

CLUSTERS = pa.schema(
    [
        pa.field("crawl", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("cluster_id", pa.string(), nullable=False),  # doc_id of the survivor
        pa.field("cluster_size", pa.int32(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("exact", pa.bool_(), nullable=False),  # dropped, and its normalised text is the survivor's
        pa.field("jaccard", pa.float32(), nullable=False),  # with the survivor
    ]
)
ROW_GROUP_ROWS = 1 << 16


def run(config: DedupClustersConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Cluster the documents of every bucket in `minhash`."""
    documents = Documents(many(inputs, "minhash"))
    found = cluster(documents, config)
    size = np.bincount(found.survivor, minlength=len(documents))[found.survivor]
    kept = found.survivor == np.arange(len(documents))
    order = _sorted(documents)
    with parquet_writer(out / "clusters.parquet", CLUSTERS) as writer:
        for start in range(0, len(order), ROW_GROUP_ROWS):
            rows = order[start : start + ROW_GROUP_ROWS]
            table = pa.table(
                {
                    "crawl": documents.crawl.take(pa.array(rows)),
                    "doc_id": documents.doc_id.take(pa.array(rows)),
                    "cluster_id": documents.doc_id.take(pa.array(found.survivor[rows])),
                    "cluster_size": pa.array(size[rows].astype(np.int32)),
                    "kept": pa.array(kept[rows]),
                    "exact": pa.array(found.exact[rows]),
                    "jaccard": pa.array(found.jaccard[rows]),
                }
            )
            writer.write_table(table.cast(CLUSTERS), row_group_size=ROW_GROUP_ROWS)
    exact = int(found.exact.sum())
    counts = {
        "in": len(documents),
        "out": len(order),
        "kept": int(kept.sum()),
        "exact_duplicates": exact,
        "near_duplicates": len(documents) - int(kept.sum()) - exact,
        "clusters": int((kept & (size > 1)).sum()),
        "largest_cluster": int(size.max(initial=0)),
        **dict(found.counts),
    }
    write_json(out / "clusters.json", counts)
    smallest = float(found.jaccard.min(initial=1.0))
    return StageResult(
        counts=counts,
        checks=[
            Check(
                name="nothing_vanishes",
                passed=counts["in"] == counts["out"],
                description="every document has one row in clusters.parquet",
                metadata={"in": counts["in"], "out": counts["out"]},
            ),
            Check(
                name="similar_to_survivor",
                passed=bool(smallest >= np.float32(config.threshold)),
                description="every dropped document is at least as similar to its survivor as the threshold",
                metadata={"smallest_jaccard": smallest, "threshold": config.threshold},
            ),
        ],
    )


def _sorted(documents: Documents) -> I64:
    """The documents in the order of crawl, then doc_id."""
    position = pa.array(np.arange(len(documents)))
    table = pa.table({"crawl": documents.crawl, "doc_id": documents.doc_id, "position": position})
    return table.sort_by([("crawl", "ascending"), ("doc_id", "ascending")])["position"].to_numpy()
