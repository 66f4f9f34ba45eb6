"""Continue a text with a checkpoint: `python -m ops.generate CHECKPOINT --prompt "Let $x$ be"`.

CHECKPOINT is the directory of a checkpoint with its tokenizer, or an artefact of the store that holds one. One
continuation is printed as it is made; several are made as one batch and printed one after the other.
"""
