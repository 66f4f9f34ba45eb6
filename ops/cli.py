"""`python -m ops.<stage>`: any stage from the command line, its config as flags.

Every plain field of the stage's config becomes a flag (`--num-buckets 4`), nested ones dotted (`--model.d-model 256`);
`--config FILE.json` gives the whole config and flags override it.
"""

import argparse
import dataclasses
import importlib
import json
import logging
import sys
import types
import typing
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ops.atomic import read_json
from ops.errors import StillhouseError
from ops.identity import decode, encode
from ops.stage import Execution, Parallel


def stage_main(
    package: str,
    config_class: type,
    *,
    input_names: Sequence[str] | None,
    argv: Sequence[str] | None = None,
    planned: bool = False,
) -> int:
    """Run the stage `package` (such as `ops.extract`, with `run` in its module `run`) as a command.

    `input_names` are the inputs it takes, None for any. `planned`: with `--plan` nothing runs, and what `describe` in
    its module `plan` says of the config and the number of processes is printed. Prints the result as JSON. Exits 1 with
    the message alone for errors a user can act on, or for a failed check.
    """
    parser = _parser(package, config_class, input_names)
    if planned:
        parser.add_argument("--plan", action="store_true", help="say what it would take on --num-processes, and end")
    arguments = parser.parse_args(argv)
    plans = planned and arguments.plan
    out: Path | None = arguments.out
    if out is None and not plans:
        parser.error("the following arguments are required: --out")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        config = decode(config_class, _config_data(config_class, arguments))
        if plans:
            print(importlib.import_module(f"{package}.plan").describe(config, processes=arguments.num_processes))
            return 0
        inputs: dict[str, list[Path]] = defaultdict(list)
        for name, path in arguments.input:
            inputs[name].append(path)
        run = importlib.import_module(f"{package}.run").run
        assert out is not None
        out.mkdir(parents=True, exist_ok=True)
        execution = Execution(
            device=arguments.device,
            num_processes=arguments.num_processes,
            threads=arguments.threads,
            source=arguments.read_from,
            endpoint_url=arguments.endpoint_url,
            store=arguments.store,
            parallel=arguments.parallel,
            compile=arguments.compile,
            keep_states=arguments.keep_states,
            watch=tuple(arguments.watch),
            reference=arguments.reference,
        )
        result = run(config, inputs, out, execution)
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(dataclasses.asdict(result), indent=1, default=str))
    return 0 if all(check.passed or not check.blocking for check in result.checks) else 1


def _parser(package: str, config_class: type, input_names: Sequence[str] | None) -> argparse.ArgumentParser:
    module = importlib.import_module(package)
    parser = argparse.ArgumentParser(
        prog=f"python -m {package}",
        description=(module.__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def input_pair(text: str) -> tuple[str, Path]:
        name, separator, path = text.partition("=")
        if not separator or (input_names is not None and name not in input_names):
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIRECTORY with NAME in {input_names}")
        return name, Path(path)

    if input_names is None or input_names:
        described = ", ".join(input_names or ["one for each artefact"])
        parser.add_argument(
            "--input",
            action="append",
            default=[],
            type=input_pair,
            metavar="NAME=DIR",
            help=f"inputs: {described}",
        )
    else:
        parser.set_defaults(input=[])
    parser.add_argument("--out", type=Path, help="directory of the result; partial work there is resumed")
    parser.add_argument("--config", type=Path, help="JSON file with the config")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num-processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--read-from", metavar="PLACE", help="folder or URL of what the stage reads beside its inputs")
    parser.add_argument(
        "--parallel", choices=get_args(Parallel), default="ddp", help="training under torchrun: whole models or shares"
    )
    parser.add_argument("--compile", action="store_true", help="training with torch.compile")
    parser.add_argument("--watch", action="append", default=[], metavar="tensorboard|wandb", help="of a training run")
    parser.add_argument(
        "--reference", metavar="DIR", help="an earlier training run, to warn when the loss leaves its own"
    )
    parser.add_argument("--keep-states", type=int, default=2, help="states of a training run to keep")
    parser.add_argument("--endpoint-url", metavar="URL", help="of an S3 server that is not AWS")
    parser.add_argument(
        "--store", metavar="URL", help="of a stage that keeps artefacts there (default: STILLHOUSE_STORE, else store)"
    )
    group = parser.add_argument_group(f"{config_class.__name__} (what the result depends on)")
    for name, kind, default in _flags(config_class):
        flag = "--" + name.replace("_", "-")
        shown = "required" if default is dataclasses.MISSING else f"default {default!r}"
        group.add_argument(flag, dest=f"config:{name}", metavar=_kind_name(kind), help=shown)
    return parser


def _flags(config_class: type, prefix: str = "") -> list[tuple[str, Any, Any]]:
    hints = typing.get_type_hints(config_class)
    found: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(config_class):
        kind = hints[field.name]
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            found += _flags(kind, f"{prefix}{field.name}.")
        else:
            found.append((prefix + field.name, kind, default))
    return found


def _kind_name(kind: Any) -> str:
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is not None:
        return "JSON" if kind != (str | None) else "STR"
    return kind.__name__.upper()


def _config_data(config_class: type, arguments: argparse.Namespace) -> dict[str, Any]:
    data: dict[str, Any] = dict(read_json(arguments.config)) if arguments.config else {}
    kinds = {name: kind for name, kind, _ in _flags(config_class)}
    for name, kind in kinds.items():
        text = getattr(arguments, f"config:{name}")
        if text is None:
            continue
        target = data
        *parents, last = name.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = _parse(text, kind)
    return _with_nested_defaults(config_class, data)


def _parse(text: str, kind: Any) -> Any:
    if kind is str:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _with_nested_defaults(config_class: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Fill a nested config that is given in part with the rest of its parent's default for it."""
    filled = dict(data)
    for field in dataclasses.fields(config_class):
        given = filled.get(field.name)
        default: Any = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if isinstance(given, Mapping) and dataclasses.is_dataclass(default) and not isinstance(default, type):
            filled[field.name] = {**encode(default), **given}
    return filled
