import sys

from ops.cli import stage_main
from ops.eval_tasks.config import EvalTasksConfig

sys.exit(stage_main("ops.eval_tasks", EvalTasksConfig, input_names=[]))
