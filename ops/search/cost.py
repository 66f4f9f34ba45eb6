"""What a network costs, from its configuration alone."""

from collections.abc import Mapping

from model.config import HybridConfig
from ops.search.config import Budget

WEIGHT_BYTES = {"bfloat16": 2, "float32": 4}


def costs(config: HybridConfig, budget: Budget) -> dict[str, float]:
    """Parameters, active parameters and bytes of memory at the budget's context, batch and types."""
    cache = config.cache_bytes(budget.context, budget.batch, kv_bytes=budget.kv_bytes, state_bytes=budget.state_bytes)
    return {
        "parameters": config.num_params(),
        "active_parameters": config.num_active_params(),
        "memory_bytes": weight_bytes(config, WEIGHT_BYTES[budget.weights]) + cache,
    }


def weight_bytes(config: HybridConfig, size: int) -> int:
    """Bytes of all weights at `size` bytes each: A_log, D, dt_bias and the routers' correction biases take 4."""
    letters = config.pattern + config.mtp_pattern
    scalars = 3 * config.mamba_num_heads * letters.count("M")
    biases = config.n_routed_experts * letters.count("E") if config.has_experts else 0
    return size * config.num_params() + (4 - size) * scalars + 4 * biases


def excess(found: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """The largest of cost / limit over the limits whose cost is known: above 1 the budget is not met."""
    return max((found[name] / limit for name, limit in limits.items() if name in found), default=0.0)
