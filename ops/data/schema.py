"""Tables of the token stages as Arrow schemas."""

import pyarrow as pa

from ops.schema import PROVENANCE

TOKENIZED = pa.schema(
    [
        *PROVENANCE,
        pa.field("title", pa.string()),
        pa.field("source", pa.string(), nullable=False),  # host of the URL
        pa.field("language", pa.string(), nullable=False),
        pa.field("math_score", pa.float32(), nullable=False),
        pa.field("math_int_score", pa.int8(), nullable=False),
        pa.field("cluster_id", pa.string(), nullable=False),
        pa.field("cleaner", pa.string(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),  # UTF-8 bytes of the text
        pa.field("token_start", pa.int64(), nullable=False),  # in the shard
        pa.field("token_length", pa.int64(), nullable=False),  # with the EOD
    ]
)
"""`documents.parquet` of a token shard, one row per document, in the order of the tokens."""

TRAINING_DOCUMENTS = pa.schema(
    [
        pa.field("shard", pa.int32(), nullable=False),  # index into manifest["shards"]
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("cluster_id", pa.string(), nullable=False),
        pa.field("math_int_score", pa.int8(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),
        pa.field("token_start", pa.int64(), nullable=False),
        pa.field("token_length", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),  # train or validation
        pa.field("phases", pa.uint8(), nullable=False),  # bit 0: phase 1, bit 1: phase 2
    ]
)
"""`documents.parquet` of a training set, by shard and token_start."""
