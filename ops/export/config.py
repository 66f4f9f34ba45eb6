"""What an export looks like."""

from dataclasses import dataclass
from typing import Literal

from ops.errors import InputError

MIN_SHARD_BYTES = 1000


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Form of the weights, and the name of the model."""

    name: str = "stillhouse"
    """Title of the model card."""

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Of the weights; A_log, D, dt_bias and the routers' biases stay in float32."""

    max_shard_size: int = 5 * 10**9
    """Bytes of a weights file at most (a larger tensor has one for itself)."""

    def __post_init__(self) -> None:
        if not self.name.strip() or "\n" in self.name:
            raise InputError(f"ExportConfig.name: must be one line of text, got {self.name!r}")
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise InputError(f"ExportConfig.dtype: {self.dtype!r} is not float32, bfloat16 or float16")
        if self.max_shard_size < MIN_SHARD_BYTES:
            raise InputError(
                f"ExportConfig.max_shard_size: must be at least {MIN_SHARD_BYTES} bytes, got {self.max_shard_size}"
            )
