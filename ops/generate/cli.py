"""The command line of `ops.generate`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.errors import InputError, StillhouseError

DTYPES = ("float32", "bfloat16")


def main(argv: Sequence[str] | None = None) -> int:
    """Print continuations; exits 1 with the message alone for errors a user can act on."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    import ops.generate

    parser = argparse.ArgumentParser(
        prog="python -m ops.generate",
        description=(ops.generate.__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint", type=Path, help="directory of a checkpoint: of an artefact in the store, or your own"
    )
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="a text to continue; may be given repeatedly")
    parser.add_argument("--prompt-file", type=Path, metavar="FILE", help="a file whose whole text is one more prompt")
    parser.add_argument("--num-samples", type=int, default=1, help="continuations of each prompt (default 1)")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 (default) takes the likeliest token")
    parser.add_argument("--top-k", type=int, help="draw from the likeliest K tokens alone")
    parser.add_argument("--top-p", type=float, help="draw from the fewest tokens that reach this probability")
    parser.add_argument("--seed", type=int, default=0, help="of the draws: the same text for the same seed")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="where the checkpoint has none of its own")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: prompt, text, finished")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    import torch

    from model.generate import Sampling
    from ops.generate.generator import TextGenerator

    prompts = _prompts(arguments)
    for name in ("num_samples", "max_new_tokens", "threads"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name.replace('_', '-')}: must be at least 1, got {getattr(arguments, name)}")
    try:
        sampling = Sampling(
            temperature=arguments.temperature, top_k=arguments.top_k, top_p=arguments.top_p, seed=arguments.seed
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    torch.set_num_threads(arguments.threads)
    generator = TextGenerator.open(
        arguments.checkpoint,
        tokenizer=arguments.tokenizer,
        device=arguments.device,
        dtype=getattr(torch, arguments.dtype),
    )
    rows = [prompt for prompt in prompts for _ in range(arguments.num_samples)]
    pieces = generator.stream(
        rows, max_new_tokens=arguments.max_new_tokens, sampling=sampling, stops=tuple(arguments.stop)
    )
    if len(rows) == 1 and not arguments.json:
        for piece in pieces:
            print(piece.text, end="", flush=True)
        print()
        return
    texts, finished = [""] * len(rows), [""] * len(rows)
    for piece in pieces:
        texts[piece.row] += piece.text
        finished[piece.row] = piece.finished or ""
    for row, prompt in enumerate(rows):
        if arguments.json:
            print(json.dumps({"prompt": prompt, "text": texts[row], "finished": finished[row]}, ensure_ascii=False))
        else:
            print(f"--- {row + 1} of {len(rows)}: {prompt}\n{texts[row]}")


def _prompts(arguments: argparse.Namespace) -> list[str]:
    prompts = list(arguments.prompt or [])
    if arguments.prompt_file is not None:
        try:
            prompts.append(arguments.prompt_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{arguments.prompt_file}: cannot be read as a prompt: {error}") from error
    if not prompts:
        raise InputError("nothing to continue: give --prompt or --prompt-file")
    return prompts
