import sys

from ops.cli import stage_main
from ops.decontaminate.config import DecontaminateConfig

sys.exit(stage_main("ops.decontaminate", DecontaminateConfig, input_names=["deduplicated", "eval_tasks"]))
