import sys

from ops.cli import stage_main
from ops.correct.config import CorrectConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.correct", CorrectConfig, input_names=("teacher", "training_set", "tokens", "tokenizer")))
