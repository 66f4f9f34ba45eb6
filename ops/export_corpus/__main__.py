import sys

from ops.cli import stage_main
from ops.export_corpus import INPUTS, ExportCorpusConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.export_corpus", ExportCorpusConfig, input_names=INPUTS))
