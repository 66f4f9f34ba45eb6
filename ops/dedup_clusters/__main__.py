import sys

from ops.cli import stage_main
from ops.dedup_clusters.config import DedupClustersConfig

sys.exit(stage_main("ops.dedup_clusters", DedupClustersConfig, input_names=["minhash"]))
