import sys

from ops.cli import stage_main
from ops.sort_teacher.config import SortConfig

if __name__ == "__main__":
    names = ("teacher", "importance", "tokenizer", "training_set", "tokens")
    sys.exit(stage_main("ops.sort_teacher", SortConfig, input_names=names))
