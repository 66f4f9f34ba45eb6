import sys

from ops.cli import stage_main
from ops.evidence.config import TeachersConfig

if __name__ == "__main__":
    names = ("training_set", "tokens", "tokenizer")
    sys.exit(stage_main("ops.evidence.teachers", TeachersConfig, input_names=names))
