import sys

from ops.cli import stage_main
from ops.evidence.config import TableConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.evidence.table", TableConfig, input_names=("claims",)))
