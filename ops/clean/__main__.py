"""`python -m ops.clean`."""

import sys

from ops.clean.config import CleanConfig
from ops.cli import stage_main

if __name__ == "__main__":
    sys.exit(stage_main("ops.clean", CleanConfig, input_names=["documents"]))
