"""How fast a network reads and writes here, and how much memory it needs."""

import platform
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from model.generate import DecodeState, decode, prefill
from model.hybrid import HybridLM

REPEATS = 5


@torch.no_grad()
def measure_speed(model: HybridLM, *, prompt_tokens: int, decode_tokens: int) -> dict[str, Any]:
    """Median of `REPEATS` runs after one to warm up, at batch size 1: prompt tokens read per second, and tokens
    decoded per second with a cache behind such a prompt; peak memory of the process (on a GPU: of its tensors)."""
    weight = model.lm_head.weight
    device, vocab_size = weight.device, model.config.vocab_size
    generator = torch.Generator().manual_seed(0)
    prompt_BL = torch.randint(vocab_size, (1, prompt_tokens), generator=generator).to(device)

    def write(state: DecodeState) -> None:
        for _ in decode(model, state, max_new_tokens=decode_tokens + 1):  # the first token is the prefill's
            pass

    reading, writing = [], []
    for _ in range(REPEATS + 1):
        seconds, state = _timed(lambda: prefill(model, prompt_BL, room=decode_tokens), device)
        reading.append(prompt_tokens / seconds)
        seconds, _ = _timed(lambda state=state: write(state), device)
        writing.append(decode_tokens / seconds)
    on_gpu = device.type == "cuda"
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.machine(),
        "threads": torch.get_num_threads(),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "prompt_tokens": prompt_tokens,
        "decode_tokens": decode_tokens,
        "prefill_tokens_per_second": statistics.median(reading[1:]),
        "decode_tokens_per_second": statistics.median(writing[1:]),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(device) if on_gpu else rss,
    }


def _timed(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, result
