import sys

from ops.cli import stage_main
from ops.evidence.config import ClaimConfig

if __name__ == "__main__":
    names = ("teachers", "training_set", "tokens")
    sys.exit(stage_main("ops.evidence.claim", ClaimConfig, input_names=names))
