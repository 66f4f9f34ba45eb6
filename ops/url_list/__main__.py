import sys

from ops.cli import stage_main
from ops.url_list.config import UrlListConfig

if __name__ == "__main__":
    sys.exit(stage_main("ops.url_list", UrlListConfig, input_names=[]))
