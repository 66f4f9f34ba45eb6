"""Timing shared by the benchmarks: alternate the contenders in one process, report the best of several.

`BENCH_CLOCK=cpu` counts CPU seconds of the process in place of wall time: for one thread on a busy machine.
"""

import os
import time
from collections.abc import Callable, Mapping

CLOCK = {"wall": time.perf_counter, "cpu": time.process_time}[os.environ.get("BENCH_CLOCK", "wall")]


def best_of(contenders: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Seconds of the fastest of `repeats` runs of each, after one to warm up; the contenders take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats + 1):
        for name, work in contenders.items():
            start = CLOCK()
            work()
            seconds[name].append(CLOCK() - start)
    return {name: min(values[1:]) for name, values in seconds.items()}


def show(title: str, seconds: Mapping[str, float], units: float, unit: str) -> None:
    """Print a table: units per second, and how many times the slowest contender."""
    slowest = max(seconds.values())
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:<34}{1e3 * value:>10.1f} ms {units / value:>12,.0f} {unit}/s {slowest / value:>6.2f}x")
