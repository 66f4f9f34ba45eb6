"""`python -m ops.extract FILE|-` for one page, `python -m ops.extract --input pages=DIR --out DIR` for the stage."""

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.cli import stage_main
from ops.errors import InputError, StillhouseError
from ops.extract.config import ExtractConfig
from ops.extract.page import extract_page


def main(argv: Sequence[str]) -> int:
    if any(argument == "--out" or argument.startswith("--out=") for argument in argv):
        return stage_main("ops.extract", ExtractConfig, input_names=["pages"], argv=argv)
    parser = argparse.ArgumentParser(
        prog="python -m ops.extract",
        description="Print the text of an HTML page with its formulas as LaTeX. With --out DIR --input pages=DIR: run "
        "the stage over parts (python -m ops.extract --out . --help shows its flags).",
    )
    parser.add_argument("file", help="an HTML file, or - for standard input")
    parser.add_argument("--json", action="store_true", help="print title, text, formulas, encoding and counters")
    parser.add_argument("--content-type", help="the HTTP header of the page, such as 'text/html; charset=latin-1'")
    arguments = parser.parse_args(argv)
    try:
        page = extract_page(_read(arguments.file), url=arguments.file, content_type=arguments.content_type)
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(dataclasses.asdict(page), indent=1, ensure_ascii=False))
    else:
        print(page.text)
    return 0


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `... | head` ends us quietly
    sys.exit(main(sys.argv[1:]))
