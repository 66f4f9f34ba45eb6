"""Time the decoding of a network."""

import platform
from pathlib import Path
from typing import Any

import torch

from model.hybrid import HybridLM
from ops.atomic import write_json
from ops.evaluate.speed import measure_speed
from ops.search.latency.config import LatencyConfig
from ops.stage import Execution, Inputs, StageResult
from ops.train.loop import deterministic

SPEED = "speed.json"
CPUINFO = Path("/proc/cpuinfo")


def observe(config: LatencyConfig, execution: Execution) -> dict[str, Any]:
    """The machine: a time measured elsewhere, or with other threads, is another artefact."""
    on_gpu = torch.device(execution.device).type == "cuda"
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "device": torch.cuda.get_device_name(execution.device) if on_gpu else execution.device,
        "cpu": models[0] if models else platform.machine(),
        "threads": execution.threads,
        "torch": torch.__version__,
    }


def run(config: LatencyConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `speed.json` (volatile), see ops.evaluate.speed."""
    with deterministic(threads=execution.threads, device=execution.device):
        model = HybridLM.create(config.model, seed=0, device=execution.device).eval()
        workload = config.workload
        measured = measure_speed(model, prompt_tokens=workload.prompt_tokens, decode_tokens=workload.decode_tokens)
    write_json(out / SPEED, measured)
    return StageResult(counts={"parameters": config.model.num_params()}, volatile=(SPEED,))
