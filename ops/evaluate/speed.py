"""How fast a network reads and writes here, and how much memory it needs."""

import platform
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from model.cache import DecodeCache
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

    def prefill() -> tuple[DecodeCache, torch.Tensor]:
        length = prompt_tokens + decode_tokens
        cache = DecodeCache.empty(model.config, 1, max_length=length, dtype=weight.dtype, device=device)
        return cache, model.lm_head(model.hidden_states(prompt_BL, cache=cache)[:, -1:]).argmax(-1)

    def decode(cache: DecodeCache, token_BL: torch.Tensor) -> None:
        for _ in range(decode_tokens):
            token_BL = model.lm_head(model.hidden_states(token_BL, cache=cache)).argmax(-1)

    reading, writing = [], []
    for _ in range(REPEATS + 1):
        seconds, (cache, token_BL) = _timed(prefill, device)
        reading.append(prompt_tokens / seconds)
        seconds, _ = _timed(lambda cache=cache, token_BL=token_BL: decode(cache, token_BL), device)
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
