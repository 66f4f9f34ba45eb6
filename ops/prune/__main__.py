import sys

from ops.cli import stage_main
from ops.prune.config import PruneConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.prune", PruneConfig, input_names=("teacher", "importance", "tokenizer", "search")))
