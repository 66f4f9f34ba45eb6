import sys

from ops.cli import stage_main
from ops.tokenize import INPUTS, TokenizeConfig
from ops.tokenize.takedown import takedown_main
from ops.tokenize.trace import trace_main

if sys.argv[1:2] == ["takedown"]:
    raise SystemExit(takedown_main(sys.argv[2:]))
if sys.argv[1:2] == ["trace"]:
    raise SystemExit(trace_main(sys.argv[2:]))
raise SystemExit(stage_main("ops.tokenize", TokenizeConfig, input_names=INPUTS))
