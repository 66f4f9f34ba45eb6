"""Look into the store and look after it.

  ls       artefacts: status, size, when, what
  show     one record: counts, drops, checks, cost, files
  lineage  where an artefact came from, down to the crawl files, or what came from it
  verify   hash every file again
  gc       list, or with --delete remove, what no kept artefact descends from
  adopt    bring in data made elsewhere

An artefact is named by its path below the store, such as `teacher/1-4f0c9a1b2c3d`, or by its asset for the newest.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.errors import ArtifactCorrupt, ArtifactMissing, StillhouseError, StoreError
from ops.progress import track
from ops.settings import open_store
from ops.store import lineage
from ops.store.adopt import adopt
from ops.store.record import Record
from ops.store.store import Store


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return arguments.do(open_store(arguments.store), arguments)
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ops.store", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", help="URL of the store (default: STILLHOUSE_STORE, else ./store)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    ls = commands.add_parser("ls", help="list artefacts")
    ls.add_argument("prefix", nargs="?", default="", help="an asset, or a folder such as pages/SAMPLE-2026-05")
    ls.set_defaults(do=_ls)
    show = commands.add_parser("show", help="show one record")
    show.add_argument("artifact")
    show.add_argument("--json", action="store_true", help="the whole record")
    show.set_defaults(do=_show)
    tree = commands.add_parser("lineage", help="show where an artefact came from")
    tree.add_argument("artifact")
    tree.add_argument("--forward", action="store_true", help="what came from it instead")
    tree.set_defaults(do=_lineage)
    verify = commands.add_parser("verify", help="hash every file again")
    verify.add_argument("prefix", nargs="?", default="")
    verify.set_defaults(do=_verify)
    gc = commands.add_parser("gc", help="remove what nothing kept descends from")
    gc.add_argument(
        "--keep", action="append", default=[], metavar="ARTIFACT", help="keep this one and its ancestors too"
    )
    gc.add_argument("--delete", action="store_true", help="delete; without it only list")
    gc.set_defaults(do=_gc)
    take = commands.add_parser("adopt", help="bring in data made elsewhere")
    take.add_argument("asset")
    take.add_argument("directory", type=Path)
    take.add_argument("--partition")
    take.set_defaults(do=_adopt)
    return parser


def resolve(store: Store, name: str) -> Record:
    """The record that a person means: a path below the store, or the newest accepted artefact of an asset or folder.

    Raises:
        ArtifactMissing: when nothing fits.
    """
    found = list(store.records(name.rstrip("/")))
    accepted = [record for record in found if record.status == "accepted"]
    if not found:
        raise ArtifactMissing(f"{name}: nothing in {store.url} has this path; see `python -m ops.store ls`")
    return max(accepted or found, key=lambda record: (record.created_at, record.version))


def _line(record: Record) -> str:
    return f"{record.status:<8} {_size(record.num_bytes):>10}  {record.created_at[:19]}  {record.id.path}"


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def _ls(store: Store, arguments: argparse.Namespace) -> int:
    records = list(store.records(arguments.prefix))
    for record in records:
        print(_line(record))
    print(f"{len(records)} artefacts, {_size(sum(record.num_bytes for record in records))}, in {store.url}")
    return 0


def _show(store: Store, arguments: argparse.Namespace) -> int:
    record = resolve(store, arguments.artifact)
    if arguments.json:
        print(record.to_json(), end="")
        return 0
    cost = record.cost
    print(f"{record.id}  {record.status}")
    print(f"  stage         {record.stage} {record.code_version}")
    print(f"  made          {record.created_at}, code {(record.git_commit or 'unknown')[:12]}")
    print(f"  fingerprint   {record.fingerprint}\n  digest        {record.digest}")
    print(f"  cost          {cost.wall_s:.1f} s, {cost.cpu_s:.1f} CPU-s, {_size(cost.peak_rss_bytes)} peak")
    print(f"  counts        {json.dumps(record.counts)}")
    print(f"  dropped       {json.dumps(record.dropped)}")
    for check in record.checks:
        print(f"  check         {'passed' if check.passed else 'FAILED'}  {check.name}: {check.description}")
    for parent in record.parents:
        print(f"  parent        {parent.input} = {parent.id.path}")
    for name, entry in record.files.items():
        print(f"  file          {_size(entry.bytes):>10}  {entry.sha256[:12]}  {name}")
    return 0


def _lineage(store: Store, arguments: argparse.Namespace) -> int:
    root = resolve(store, arguments.artifact)
    if arguments.forward:
        print(_line(root))
        for record in lineage.descendants(store, root):
            print(_line(record))
        return 0
    shown: set[str] = set()

    def walk(record: Record, depth: int) -> None:
        again = record.id.path in shown
        print("  " * depth + record.id.path + (" (above)" if again and record.parents else ""))
        if again:
            return
        shown.add(record.id.path)
        if record.stage == "crawl_pages":
            for name in record.summary.get("warc_files", []):
                print("  " * (depth + 1) + name)
        for parent in lineage.parents(store, record):
            walk(parent, depth + 1)

    walk(root, 0)
    return 0


def _verify(store: Store, arguments: argparse.Namespace) -> int:
    problems: list[str] = []
    count = 0
    for path in track(list(store.record_paths(arguments.prefix)), description="verify", unit="artefact"):
        count += 1
        try:
            problems += store.verify(store.read(path))
        except ArtifactCorrupt as error:
            problems.append(str(error))
    for problem in problems:
        print(problem)
    print(f"{count} artefacts, {len(problems)} problems")
    return 1 if problems else 0


def _gc(store: Store, arguments: argparse.Namespace) -> int:
    keep = [resolve(store, name).id for name in arguments.keep]
    doomed = lineage.collectable(store, keep)
    if arguments.delete and (busy := store.busy()):
        raise StoreError(f"work is under way on {busy}: its parents must stay, run gc when it has ended")
    for record in doomed:
        print(_line(record))
        if arguments.delete:
            store.remove(record.id)
    verb = "deleted" if arguments.delete else "to delete (run again with --delete)"
    print(f"{len(doomed)} artefacts {verb}, {_size(sum(record.num_bytes for record in doomed))}")
    return 0


def _adopt(store: Store, arguments: argparse.Namespace) -> int:
    record = adopt(store, arguments.asset, arguments.directory, partition=arguments.partition)
    print(record.id.path)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `... | head` ends us quietly
    sys.exit(main())
