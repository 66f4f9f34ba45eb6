"""Run stages and die in the middle: `python -m tests.ops.kill_stages CALLS.json`.

Each call (a pickle-free description) runs in a fork of this process, which has no threads; just before the file number
`at` would appear under its name the fork kills itself with SIGKILL. Prints how each fork ended.
"""

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ops.identity import decode
from ops.stage import Execution


def config_of(call: dict[str, Any]) -> Any:
    module, _, name = call["config_class"].partition(":")
    return decode(getattr(importlib.import_module(module), name), call["config"])


def run_and_die(call: dict[str, Any]) -> None:
    replace, count = os.replace, 0

    def counting(*paths: Any, **options: Any) -> None:
        nonlocal count
        if count == call["at"]:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        replace(*paths, **options)

    os.replace = counting  # type: ignore[assignment]
    inputs = {name: [Path(path) for path in paths] for name, paths in call["inputs"].items()}
    run = importlib.import_module(f"{call['package']}.run").run
    run(config_of(call), inputs, Path(call["out"]), Execution(threads=1))


def main(path: Path) -> None:
    calls = json.loads(path.read_text())
    for package in {call["package"] for call in calls}:
        importlib.import_module(f"{package}.run")
    ends = []
    for call in calls:
        child = os.fork()
        if child == 0:
            try:
                run_and_die(call)
            finally:
                os._exit(1)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
