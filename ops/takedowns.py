"""Takedowns: pages whose owners want them gone, and what came of them.

`takedowns.json` at the root of the store lists them. A takedown is part of the identity of those partitions of `pages`
that held such a page, or were not made yet when it was asked: they and what descends from them are made anew, all else
stays as it is.
"""

import json
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from ops.crawl_pages.config import Takedown
from ops.errors import InputError
from ops.identity import decode, encode
from ops.parts import part_paths
from ops.store import Record, Store
from ops.store.lineage import descendants

TAKEDOWNS = "takedowns.json"
PAGES = "pages"


def read_takedowns(store: Store) -> tuple[Takedown, ...]:
    """The takedowns of a store; none when it lists none.

    Raises:
        InputError: when the list cannot be read.
    """
    path = f"{store.root}/{TAKEDOWNS}"
    try:
        with store.fs.open(path, "rb") as stream:
            data = json.load(stream)
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(data, list):
        raise InputError(f"{path}: not a list of takedowns")
    return tuple(decode(Takedown, item, f"{TAKEDOWNS}[{number}]") for number, item in enumerate(data))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a takedown meets in a store."""

    pages: dict[str, list[dict[str, Any]]]
    """Partition -> url, doc_id, WARC file, offset and length of each page that is meant."""

    clean: tuple[str, ...]
    """Partitions that hold none of them."""

    descendants: list[Record]
    """Artefacts that were made from a partition with such a page."""


def look(store: Store, takedown: Takedown) -> Found:
    """Look through every accepted `pages` artefact, older versions included."""
    pages: dict[str, list[dict[str, Any]]] = {}
    seen: set[str] = set()
    below: dict[str, Record] = {}
    columns = ["url", "doc_id", "warc_filename", "warc_record_offset", "warc_record_length"]
    for record in store.records(PAGES):
        if record.status != "accepted" or record.partition is None:
            continue
        seen.add(record.partition)
        held: list[dict[str, Any]] = []
        for part in part_paths(store.local_path(record)):
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(columns=columns):
                    held += [row for row in batch.to_pylist() if takedown.matches(row["url"])]
        if held:
            known = pages.setdefault(record.partition, [])
            known += [row for row in held if row not in known]
            below |= {child.id.path: child for child in [record, *descendants(store, record)]}
    return Found(
        pages=pages, clean=tuple(sorted(seen - pages.keys())), descendants=[below[path] for path in sorted(below)]
    )


def add(store: Store, takedown: Takedown) -> Found:
    """Put a takedown on the store's list; what it meets there.

    One that is on the list already is looked for again, and goes on to count for every partition that it counted for:
    those were made without the page, and would get it back.

    Raises:
        InputError: when the list cannot be read.
    """
    listed = {(item.url, item.domain): item for item in read_takedowns(store)}
    before = listed.pop((takedown.url, takedown.domain), None)
    found = look(store, takedown)
    clean = found.clean if before is None else tuple(key for key in found.clean if key in before.clean)
    entry = Takedown(url=takedown.url, domain=takedown.domain, clean=clean)
    text = json.dumps([encode(item) for item in (*listed.values(), entry)], indent=1) + "\n"
    store.fs.makedirs(store.root, exist_ok=True)
    path = f"{store.root}/{TAKEDOWNS}"
    with store.fs.open(f"{path}.tmp" if store.is_local else path, "wb") as stream:
        stream.write(text.encode())
    if store.is_local:
        store.fs.mv(f"{path}.tmp", path)
    return found
