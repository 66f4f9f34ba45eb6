from ops.cli import stage_main
from ops.training_set import INPUTS, TrainingSetConfig

raise SystemExit(stage_main("ops.training_set", TrainingSetConfig, input_names=INPUTS))
