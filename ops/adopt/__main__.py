import sys

from ops.adopt.config import AdoptConfig
from ops.cli import stage_main

if __name__ == "__main__":
    sys.exit(stage_main("ops.adopt", AdoptConfig, input_names=("tokenizer",)))
