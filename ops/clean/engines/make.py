"""From a config to its engine. What an engine needs is imported when it is made."""

from ops.clean.config import LlmCleaner
from ops.clean.engines.interface import Engine
from ops.errors import InputError
from ops.stage import Execution


def make_engine(config: LlmCleaner, execution: Execution) -> Engine:
    """
    Raises:
        InputError: when `execution.source` does not say where the model lies, or a package is missing.
    """
    source = execution.source
    if not source:
        raise InputError(
            f"engine {config.engine!r}: say where {config.model} lies (`--read-from`, `Execution.source`): "
            + ("the base URL of its API" if config.engine == "endpoint" else "the folder of its checkpoint")
        )
    if config.engine == "endpoint":
        from ops.clean.engines.endpoint import Endpoint, Patience

        return Endpoint(config, source, Patience.from_environment())
    if config.engine == "vllm":
        from ops.clean.engines.offline_vllm import OfflineVllm

        return OfflineVllm(config, source)
    from ops.clean.engines.offline_transformers import OfflineTransformers

    return OfflineTransformers(config, source, device=execution.device)
