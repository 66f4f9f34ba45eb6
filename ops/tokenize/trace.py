"""`python -m ops.tokenize trace`: the page behind a token of a shard."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.data.megatron import map_tokens, read_meta
from ops.data.trace import locate
from ops.errors import InputError, StillhouseError
from ops.tokenizer.files import load_tokenizer


def trace_main(argv: Sequence[str]) -> int:
    """Print the document of a token as JSON: URL, WARC record, place in the document, and the text around it."""
    parser = argparse.ArgumentParser(prog="python -m ops.tokenize trace", description=__doc__, allow_abbrev=False)
    parser.add_argument("--tokens", required=True, type=Path, metavar="DIR", help="a token shard")
    parser.add_argument("--token", required=True, type=int, metavar="N", help="number of the token in the shard")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="its tokenizer, to show the text too")
    parser.add_argument("--context", type=int, default=32, help="tokens to show on either side (default 32)")
    arguments = parser.parse_args(argv)
    try:
        found = locate(arguments.tokens, arguments.token)
        if arguments.tokenizer is not None:
            found |= _text_around(arguments.tokens, arguments.token, arguments.tokenizer, arguments.context, found)
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=1, ensure_ascii=False))
    return 0


def _text_around(shard: Path, token: int, tokenizer: Path, context: int, document: dict) -> dict[str, str]:
    meta = read_meta(shard)
    loaded = load_tokenizer(tokenizer)
    if loaded.sha256 != meta.tokenizer_sha256:
        raise InputError(f"{tokenizer}: not the tokenizer that {shard} was made with")
    ids = map_tokens(shard, meta.dtype, meta.num_tokens)
    first = max(document["token_start"], token - context)
    end = min(document["token_start"] + document["token_length"], token + 1 + context)
    pieces = {"text_before": ids[first:token], "text": ids[token : token + 1], "text_after": ids[token + 1 : end]}
    return {name: loaded.tokenizer.decode(piece.tolist(), skip_special_tokens=False) for name, piece in pieces.items()}
