"""The child process of a heavy stage under Dagster: `ops.worker` with its metrics sent over Pipes."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_pipes import open_dagster_pipes

from ops import worker


def main(folder: Path) -> int:
    """Rank 0 reports to Dagster, the other ranks only work."""
    if os.environ.get("RANK", "0") != "0":
        return worker.main(folder)
    with open_dagster_pipes() as pipes:

        def on_metrics(row: Mapping[str, Any]) -> None:
            pipes.log.info(json.dumps(dict(row)))

        return worker.main(folder, on_metrics)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
