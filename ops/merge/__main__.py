import sys

from ops.cli import stage_main
from ops.merge.config import MergeConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.merge", MergeConfig, input_names=("checkpoint",)))
