import sys

from ops.cli import stage_main
from ops.export.config import ExportConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.export", ExportConfig, input_names=("checkpoint", "evaluation")))
