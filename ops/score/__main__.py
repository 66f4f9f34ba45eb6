import sys

from ops.cli import stage_main
from ops.score.config import ScoreConfig

sys.exit(stage_main("ops.score", ScoreConfig, input_names=["cleaned", "quality_model"]))
