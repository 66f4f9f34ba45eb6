import sys

from ops.cli import stage_main
from ops.distill.config import DistillConfig

if __name__ == "__main__":
    names = ("student", "teacher", "training_set", "tokens", "tokenizer", "teacher_logits")
    sys.exit(stage_main("ops.distill", DistillConfig, input_names=names))
