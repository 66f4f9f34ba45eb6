"""The engines that run a language model, behind one interface.

Which engine is in the config; where its model lies is `Execution.source`: the base URL of an OpenAI-compatible API
(`http://host:8000/v1`), or a folder with a Hugging Face checkpoint or one GGUF file.
"""

from ops.clean.engines.interface import Answer, Chat, Engine, EngineError, Failure, Likelihood, Reading
from ops.clean.engines.make import make_engine, observe_model

__all__ = [
    "Answer",
    "Chat",
    "Engine",
    "EngineError",
    "Failure",
    "Likelihood",
    "Reading",
    "make_engine",
    "observe_model",
]
