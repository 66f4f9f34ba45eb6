"""Which document of which token shard is trained on: split into training and validation, and data phases.

A table over all shards, no token is copied: `documents.parquet` for people and queries, the same rows in `index.npy`
for the loader (`ops.data`), and `manifest.json` with the shards and the sums. Near-duplicates (documents of one
cluster) are always in the same split.
"""

from ops.training_set.config import SourceWeight, TrainingSetConfig

INPUTS = ("tokens",)

__all__ = ["INPUTS", "SourceWeight", "TrainingSetConfig"]
