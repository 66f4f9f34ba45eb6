"""The toy stage. STILLHOUSE_TOY_STOP=N makes it kill its own process before the Nth file is written."""

import os
import signal
from pathlib import Path

from ops.atomic import write_bytes
from ops.errors import InputError
from ops.stage import Check, Execution, Inputs, StageResult
from tests.ops.toy import ToyConfig


def observe(config: ToyConfig, execution: Execution) -> dict[str, str]:
    return {"text": Path(execution.source or "/nowhere").read_text()}


def run(config: ToyConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    if config.error:
        raise InputError(config.error)
    written = 0
    above = "".join((path / "file-0").read_text() for paths in inputs.values() for path in paths)
    for index in range(config.files):
        path = out / f"file-{index}"
        if path.exists():
            continue
        if os.environ.get("STILLHOUSE_TOY_STOP") == str(index):
            (out / ".file.1.tmp").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        write_bytes(path, f"{config.text} {index} {above}".encode())
        written += 1
        if execution.on_metrics:
            execution.on_metrics({"written": written})
    write_bytes(out / "times", os.urandom(8))
    return StageResult(
        counts={"files": config.files},
        checks=[Check(name="good", passed=not config.reject, description="not told to reject")],
        volatile=["times"],
        tokens=7,
        summary={"written": written},
    )
