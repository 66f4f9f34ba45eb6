import sys

from ops.cli import stage_main
from ops.evaluate.config import EvaluateConfig

INPUTS = ("checkpoint", "tokenizer", "eval_tasks", "training_set", "tokens")

if __name__ == "__main__":
    sys.exit(stage_main("ops.evaluate", EvaluateConfig, input_names=INPUTS))
