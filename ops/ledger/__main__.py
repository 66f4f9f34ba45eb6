import sys

from ops.cli import stage_main
from ops.ledger.config import LedgerConfig
from ops.ledger.run import INPUTS

if __name__ == "__main__":
    sys.exit(stage_main("ops.ledger", LedgerConfig, input_names=INPUTS))
