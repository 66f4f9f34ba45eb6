"""The parts of a bucket made by several processes at once.

Parts do not depend on each other, so what is written does not depend on how many processes there are.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from ops.errors import StillhouseError
from ops.progress import track


class ProcessLost(StillhouseError):
    """A process that worked on parts died."""


def each_part(names: Sequence[str], work: Callable[[str], None], *, description: str, num_processes: int = 1) -> None:
    """Call `work` for every name, in order, or in up to `num_processes` processes (then `work` must be picklable).

    Each process holds what one alone would hold, so memory grows with them.

    Raises:
        ProcessLost: when one of the processes died; parts that it had finished have their marks.
        Whatever `work` raises; parts not yet begun are left.
    """
    workers = min(num_processes, len(names))
    if workers <= 1:
        for name in track(names, description=description, unit="part"):
            work(name)
        return
    # Not fork: threads of Arrow and Polars are running here. Not forkserver: what its children use counts for nobody.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        futures = [pool.submit(work, name) for name in names]
        try:
            for future in track(as_completed(futures), description=description, total=len(futures), unit="part"):
                future.result()
        except BrokenProcessPool as error:
            message = f"{description}: one of its {workers} processes died (killed, or out of memory)"
            raise ProcessLost(f"{message}; finished parts are kept, run again to go on") from error
        finally:
            pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Let a worker end when its parent was killed: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
