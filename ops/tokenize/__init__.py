"""The corpus as token shards: Megatron's `tokens.bin` and `tokens.idx` with a table of the documents beside them.

Each document is one sequence and ends with EOD. `documents.parquet` leads from every token back to its WARC record:
`python -m ops.tokenize trace --tokens DIR --token N`.
"""

from ops.tokenize.config import TokenizeConfig

INPUTS = ("corpus", "tokenizer")

__all__ = ["INPUTS", "TokenizeConfig"]
