"""`python -m ops.tokenize takedown`: take a page or a domain out of the corpus and of all that is made from now on."""

import argparse
import json
import sys
from collections.abc import Sequence

from ops.crawl_pages.config import Takedown
from ops.errors import StillhouseError
from ops.settings import open_store
from ops.takedowns import TAKEDOWNS, add, look


def takedown_main(argv: Sequence[str]) -> int:
    """Put the takedown on the store's list; print the partitions that held such pages and what descends from them."""
    parser = argparse.ArgumentParser(prog="python -m ops.tokenize takedown", description=__doc__, allow_abbrev=False)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--url", help="one page; under any scheme, with www or without")
    what.add_argument("--domain", help="every page of a domain and its subdomains")
    parser.add_argument("--store", help="URL of the store (default: STILLHOUSE_STORE, else store)")
    parser.add_argument("--look", action="store_true", help="only say what it would meet")
    arguments = parser.parse_args(argv)
    try:
        store = open_store(arguments.store)
        takedown = Takedown(url=arguments.url, domain=arguments.domain)
        found = (look if arguments.look else add)(store, takedown)
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        json.dumps(
            {
                "pages": found.pages,
                "unaffected_partitions": len(found.clean),
                "descends_from_them": [record.id.path for record in found.descendants],
            },
            indent=1,
        )
    )
    if not arguments.look:
        print(
            f"Listed in {TAKEDOWNS} of {store.url}. Materialize `pages` and what is below it: the partitions above are "
            "made anew, all others are found in the store. Then `python -m ops.store gc --delete` removes the old "
            "versions.",
            file=sys.stderr,
        )
    return 0
