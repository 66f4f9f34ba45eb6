"""The tokenizer of a family: trained on the corpus, Mistral's tekken, or that of a checkpoint.

Writes `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`, which `tokenizers` and transformers'
`AutoTokenizer` load. Encoding is exact: `decode(encode(text)) == text`.
"""

from ops.tokenizer.config import FromCheckpoint, Tekken, TokenizerConfig, TrainBPE

INPUTS = ("corpus",)

__all__ = ["INPUTS", "FromCheckpoint", "Tekken", "TokenizerConfig", "TrainBPE"]
