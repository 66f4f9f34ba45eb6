import sys

from ops.cli import stage_main
from ops.importance.config import ImportanceConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.importance", ImportanceConfig, input_names=("teacher", "training_set", "tokens")))
