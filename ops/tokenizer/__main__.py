from ops.cli import stage_main
from ops.tokenizer import INPUTS, TokenizerConfig

raise SystemExit(stage_main("ops.tokenizer", TokenizerConfig, input_names=INPUTS))
