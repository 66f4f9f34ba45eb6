import sys

from ops.cli import stage_main
from ops.report.config import ReportConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.report", ReportConfig, input_names=None))
