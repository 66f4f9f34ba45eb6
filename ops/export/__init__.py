"""Export: a checkpoint of the store as a directory for others, with a model card written from its record.

transformers and vLLM read it as it is; it needs no code of its own (`auto_map`).
"""
