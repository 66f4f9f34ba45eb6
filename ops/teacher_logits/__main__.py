import sys

from ops.cli import stage_main
from ops.teacher_logits.config import TeacherLogitsConfig

if __name__ == "__main__":
    names = ("teacher", "training_set", "tokens")
    sys.exit(stage_main("ops.teacher_logits", TeacherLogitsConfig, input_names=names))
