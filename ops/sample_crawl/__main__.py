import sys

from ops.cli import stage_main
from ops.sample_crawl.config import SampleCrawlConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.sample_crawl", SampleCrawlConfig, input_names=()))
