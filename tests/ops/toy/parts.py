"""Work on parts for processes that must import it: cheap to load."""

import os
import signal
from pathlib import Path

from ops.errors import InputError
from ops.parts import Batch, Row


def double_even(rows: list[Row]) -> Batch:
    batch = Batch()
    for row in rows:
        if row["n"] % 2:
            batch.drop(row, "odd", str(row["n"]))
        else:
            batch.keep({**row, "n": 2 * row["n"]})
    return batch


def die_once(flag: Path, rows: list[Row]) -> Batch:
    """Kills its process at row 5, the first time."""
    if any(row["n"] == 5 for row in rows) and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return double_even(rows)


def refuse(rows: list[Row]) -> Batch:
    raise InputError(f"row {rows[0]['n']}: not wanted")
