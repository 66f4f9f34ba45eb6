import sys

from ops.cli import stage_main
from ops.quality import INPUTS, QualityConfig

sys.exit(stage_main("ops.quality", QualityConfig, input_names=INPUTS))
