import sys

from ops.cli import stage_main
from ops.train.config import TrainConfig

if __name__ == "__main__":
    names = ("training_set", "tokens", "tokenizer")
    sys.exit(stage_main("ops.train", TrainConfig, input_names=names, planned=True))
