import sys

from ops.cli import stage_main
from ops.minhash.config import MinHashConfig

sys.exit(stage_main("ops.minhash", MinHashConfig, input_names=["scored"]))
