"""The Triton kernels on machines without a GPU: interpreted, and compiled for GPUs that are not there.

TRITON_INTERPRET has to be set before triton is imported, so each file of interpreted tests (`triton_*.py`, which pytest
does not collect by itself) runs in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels import triton_support

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not triton_support.installed(), reason="triton is not installed (extra `triton`)")


@pytest.mark.parametrize("file", ["triton_norms.py", "triton_conv1d.py", "triton_losses.py", "triton_ssd.py"])
def test_interpreted(file: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-rs", "-p", "no:cacheprovider", f"tests/kernels/{file}"],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
