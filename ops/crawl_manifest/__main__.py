import sys

from ops.cli import stage_main
from ops.crawl_manifest.config import CrawlManifestConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.crawl_manifest", CrawlManifestConfig, input_names=("sample_crawl", "url_list")))
