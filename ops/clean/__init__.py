"""Clean: what is left of boilerplate goes, formulas, code and links stay as they are.

`python -m ops.clean --input documents=DIR --out DIR` runs the stage over parts, by rules alone. With a model:
`--llm '{"engine": "endpoint", "model": "microsoft/phi-4", "revision": "..."}' --read-from http://host:8000/v1`, or a
checkpoint's folder for the engines `vllm` and `transformers`. What a model may do and may not: `ops.clean.contract`,
`ops.clean.faithful`.
"""

from ops.clean.config import CleanConfig, LlmCleaner, RuleCleaner, Sampling, Tolerance

__all__ = ["CleanConfig", "LlmCleaner", "RuleCleaner", "Sampling", "Tolerance"]
