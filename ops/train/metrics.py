"""The records of a run: `metrics.jsonl` (the same in every repetition), `speed.jsonl` (measured), `curve.json`."""

import json
import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from ops.errors import InputError

METRICS, SPEED, CURVE, SPIKES = "metrics.jsonl", "speed.jsonl", "curve.json", "spikes.json"
CURVE_POINTS = 200


class MetricsLog:
    """Rows of JSON, one a line. A resumed run cuts the file to the size that its state noted."""

    def __init__(self, path: Path, *, size: int) -> None:
        """
        Raises:
            InputError: when the file is shorter than `size` bytes.
        """
        self.path = path
        path.touch()
        found = path.stat().st_size
        if found < size:
            raise InputError(f"{path}: has {found} bytes, the state of the run counts on {size}")
        os.truncate(path, size)
        self._stream = path.open("ab")

    def append(self, row: Mapping[str, Any]) -> None:
        self._stream.write((json.dumps(row, allow_nan=False) + "\n").encode())
        self._stream.flush()

    def sync(self) -> int:
        """Bring everything to the disk; returns the size in bytes."""
        os.fsync(self._stream.fileno())
        return self._stream.tell()

    def close(self) -> None:
        self.sync()
        self._stream.close()


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a metrics file.

    Raises:
        InputError: when a line is not JSON (names it).
    """
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}:{number}: not JSON: {error}") from error


def curve(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a plot of the run needs: the training loss as means of at most `CURVE_POINTS` equal groups of rows, the
    learning rate and gradient norm of the last row of each, and every validation. Tokens on the x axis."""
    training = [row for row in rows if "loss" in row]
    groups = min(CURVE_POINTS, len(training))
    edges = [len(training) * group // groups for group in range(groups + 1)] if groups else []
    points: dict[str, list[float]] = {"tokens": [], "loss": [], "lr": [], "grad_norm": []}
    for begin, end in pairwise(edges):
        members = training[begin:end]
        points["tokens"].append(members[-1]["tokens"])
        points["loss"].append(round(sum(row["loss"] for row in members) / len(members), 6))
        points["lr"].append(members[-1]["lr"])
        points["grad_norm"].append(round(members[-1]["grad_norm"], 6))
    validation = [{"tokens": row["tokens"], **row["validation"]} for row in rows if "validation" in row]
    return {"training": points, "validation": validation}
