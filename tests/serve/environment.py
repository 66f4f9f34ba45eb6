"""The environment that vLLM lives in, and how its processes are started."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("STILLHOUSE_SERVE_PYTHON") or ROOT / ".venv-serve" / "bin" / "python")
needs_vllm = pytest.mark.skipif(
    not PYTHON.exists(), reason="vLLM is absent: `make serve-env`, or STILLHOUSE_SERVE_PYTHON names its interpreter"
)
TIMEOUT_S = 1200
"""Importing vLLM takes minutes on a busy machine."""


ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
}
"""A cache of 1 GiB, and nothing from or to the network."""
ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""Else every model is loaded by two processes of its own, each of which imports vLLM again."""


def work(job: Mapping[str, Any], folder: Path) -> Any:
    """Have `tests.serve.worker` do a job in vLLM's environment; its answer."""
    asked, answered = folder / "job.json", folder / "answer.json"
    asked.write_text(json.dumps(job))
    command = [str(PYTHON), "-m", "tests.serve.worker", str(asked), str(answered)]
    with (folder / "worker.log").open("w") as log:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT, **ONE_PROCESS},
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 0, (folder / "worker.log").read_text()[-4000:]
    return json.loads(answered.read_text())


@contextmanager
def api_server(model: Path, name: str, folder: Path, *options: str) -> Iterator[str]:
    """A running OpenAI-compatible server of vLLM; its base URL. It is stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    # It binds its own threads.
    serving = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | ENVIRONMENT
    command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port), *options]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=serving, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_until_healthy(server, f"http://127.0.0.1:{port}/health", folder / "server.log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-4000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise AssertionError(f"no server after {TIMEOUT_S} s: {log.read_text()[-4000:]}")
