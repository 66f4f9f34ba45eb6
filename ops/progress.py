"""Progress: a bar on a terminal, a log line now and then elsewhere."""

import importlib.util
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
logger = logging.getLogger("stillhouse")

LOG_EVERY_S = 15.0


def track(items: Iterable[T], *, description: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yield `items` while showing how far they are.

    On a terminal this is a tqdm bar; otherwise (Dagster, CI, a bare training image)
    a log line at most every `LOG_EVERY_S` seconds.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
        from tqdm import tqdm

        yield from tqdm(items, desc=description, total=total, unit=unit, leave=False)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_S:
            last = now
            logger.info("%s: %s%s %s", description, done, f"/{total}" if total else "", unit)
