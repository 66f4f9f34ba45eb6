"""What is timed."""

from dataclasses import dataclass

from model.config import HybridConfig
from ops.train.config import check_range


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Cached decoding of `decode_tokens` behind a prompt, at batch size 1 in float32."""

    prompt_tokens: int = 256
    decode_tokens: int = 32

    def __post_init__(self) -> None:
        check_range(self, "prompt_tokens", 1)
        check_range(self, "decode_tokens", 1)


@dataclass(frozen=True, kw_only=True)
class LatencyConfig:
    """A network's shape; its weights do not matter."""

    model: HybridConfig
    workload: Workload
