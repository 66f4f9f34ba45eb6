import sys

from ops.cli import stage_main
from ops.prune.config import PruneConfig

if __name__ == "__main__":
    names = ("sorted_teacher", "teacher", "importance", "tokenizer", "search")
    sys.exit(stage_main("ops.prune", PruneConfig, input_names=names))
