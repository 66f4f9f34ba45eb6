import sys

from ops.cli import stage_main
from ops.deduplicate.config import DeduplicateConfig

sys.exit(stage_main("ops.deduplicate", DeduplicateConfig, input_names=["scored", "dedup_clusters"]))
