import sys

from ops.annotate import INPUTS, AnnotateConfig
from ops.cli import stage_main

sys.exit(stage_main("ops.annotate", AnnotateConfig, input_names=INPUTS))
