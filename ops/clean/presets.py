"""Settings of cleaners that others have published figures for."""

from typing import Literal

from ops.clean.config import LlmCleaner, Sampling


def phi4(engine: Literal["endpoint", "vllm"] = "endpoint") -> LlmCleaner:
    """Phi-4 (14 B) as Nemotron-CC-Math ran it: chunks of 5,000 tokens, temperature 0.7, top-p 0.8, top-k 20, min-p 0,
    a context of 16,384 tokens (README of its published code). The seed, which was not set there, is 0; the prompt is
    ours. Their ablation found no larger model to clean better (paper, section on the choice of the model)."""
    return LlmCleaner(
        engine=engine,
        model="microsoft/phi-4",
        revision="187ef0342fff0eb3333be9f00389385e95ef0b61",
        sampling=Sampling(temperature=0.7, top_p=0.8, top_k=20, min_p=0.0, seed=0, max_tokens=8192),
        chunk_tokens=5000,
        dtype="bfloat16",
    )
