import sys

from ops.cli import stage_main
from ops.crawl_pages.config import CrawlPagesConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.crawl_pages", CrawlPagesConfig, input_names=("crawl_manifest", "sample_crawl")))
