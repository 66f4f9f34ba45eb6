"""Extraction on pages nobody wrote. `python -m tests.fuzz.extract [--seconds N] [--seed N] [--page N]`.

What must hold of every page, whatever is in it:

- the only exception is `PageRejected`;
- the text is UTF-8 without control characters but the line end and the tab;
- `text[start:end]` of each formula is the formula between its delimiters, and formulas do not overlap;
- the same bytes give the same page;
- time and memory stay within a budget (the slowest page is reported in any case).
"""

import argparse
import random
import resource
import sys
import time
import traceback

from ops.extract import Page, PageRejected, extract_page
from ops.extract.validity import REASONS, check_latex
from tests.fuzz.pages import encode, mutate, sample_pages, soup

SECONDS_PER_MEGABYTE = 8.0
"""More processor time than this (and half a second) for a page is a failure."""


def check(html: bytes) -> Page | None:
    """Extract a page twice and check what must hold. Returns None when the page was rejected.

    Raises:
        AssertionError: when something does not hold.
    """
    try:
        page = extract_page(html)
    except PageRejected:
        return None
    page.text.encode("utf-8")
    control = [hex(ord(character)) for character in set(page.text) if ord(character) < 32 and character not in "\n\t"]
    assert not control, f"control characters {control}"
    end = 0
    for formula in page.formulas:
        mark = "$$" if formula.display else "$"
        assert formula.start >= end, "formulas overlap"
        end = formula.end
        found = page.text[formula.start : formula.end]
        assert found == f"{mark}{formula.latex}{mark}", f"{found[:200]!r} is not {formula.latex[:200]!r}"
        assert formula.latex.strip(), "an empty formula"
        reason = check_latex(formula.latex)
        assert reason is None or reason in REASONS
    assert extract_page(html) == page, "a second run gives another page"
    return page


def make(seed: int, number: int, pages: list[str]) -> bytes:
    """Page `number` of a seed."""
    source = random.Random(f"{seed} {number}")
    make_soup = number % 3 == 0
    return encode(source, soup(source, source.choice((20, 200, 2000))) if make_soup else mutate(source, pages))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to go on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=int, help="only this page, written to standard output")
    arguments = parser.parse_args()
    pages = sample_pages()
    if arguments.page is not None:
        html = make(arguments.seed, arguments.page, pages)
        sys.stdout.buffer.write(html)
        check(html)
        return 0
    started = time.monotonic()
    number = rejected = formulas = failures = 0
    slowest = (0.0, -1, 0)
    while time.monotonic() - started < arguments.seconds:
        html = make(arguments.seed, number, pages)
        before = time.process_time()
        try:
            page = check(html)
        except Exception:  # every failure is shown with the number that makes the page again
            failures += 1
            print(f"page {number} of seed {arguments.seed}:", file=sys.stderr)
            traceback.print_exc(limit=-3)
            page = None
        else:
            rejected += page is None
        seconds = (time.process_time() - before) / 2
        if page is not None:
            formulas += len(page.formulas)
            slowest = max(slowest, (seconds, number, len(html)))
        if seconds > 0.5 + SECONDS_PER_MEGABYTE * len(html) / 1e6:
            failures += 1
            print(f"page {number} of seed {arguments.seed}: {seconds:.1f} s for {len(html)} bytes", file=sys.stderr)
        number += 1
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{number} pages, {rejected} rejected, {formulas} formulas, {failures} failures; the slowest page "
        f"({slowest[1]}, {slowest[2]} bytes) took {slowest[0]:.2f} s; {memory:.0f} MB at most"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
