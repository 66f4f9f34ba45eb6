import sys

from ops.cli import stage_main
from ops.search.config import SearchConfig

if __name__ == "__main__":
    names = ("sorted_teacher", "teacher", "importance", "tokenizer", "training_set", "tokens", "distillation_teacher")
    sys.exit(stage_main("ops.search", SearchConfig, input_names=names))
