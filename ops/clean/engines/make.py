"""From a config to its engine. What an engine needs is imported when it is made."""

from pathlib import Path
from typing import Any

from ops.clean.config import LanguageModel
from ops.clean.engines.interface import Engine
from ops.errors import InputError
from ops.stage import Execution


def make_engine(config: LanguageModel, execution: Execution) -> Engine:
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


def observe_model(config: LanguageModel, execution: Execution) -> Any:
    """Name, size and time of modification (ns) of every file of a model that runs here; None for an endpoint.

    Raises:
        InputError: when `execution.source` is no folder.
    """
    if config.engine == "endpoint":
        return None
    folder = Path(execution.source or "")
    if not execution.source or not folder.is_dir():
        raise InputError(f"{execution.source!r} is not the folder of {config.model}")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [[str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
