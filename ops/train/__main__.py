import sys

from ops.cli import stage_main
from ops.train.config import TrainConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.train", TrainConfig, input_names=("training_set", "tokens", "tokenizer")))
