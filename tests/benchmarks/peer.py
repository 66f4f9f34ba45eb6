"""datatrove, which cannot share an environment with us: it runs in the one that `make bench` builds for it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("DATATROVE_PYTHON", ROOT / ".venv-datatrove" / "bin" / "python"))
STEPS = Path(__file__).with_name("datatrove_steps.py")


def has_datatrove() -> bool:
    return PYTHON.is_file()


def datatrove(step: str, out: Path, **settings: Any) -> dict[str, Any]:
    """What a step of `datatrove_steps` reports; `seconds` are (wall, CPU) by its own steps.

    Skips where its environment is not there.
    """
    if not has_datatrove():
        pytest.skip("no environment with datatrove (`make bench` builds .venv-datatrove; or set DATATROVE_PYTHON)")
    out.mkdir(parents=True)
    path = out / "settings.json"
    path.write_text(json.dumps({"out": str(out), **settings}, default=str))
    done = subprocess.run([PYTHON, STEPS, step, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def cpu_seconds(result: dict[str, Any]) -> float:
    """CPU seconds of all steps of a result."""
    return sum(cpu for _, cpu in result["seconds"].values())
