"""Build the sample crawl: plan it, render its pages, write WARC files, indexes and what is planted in it."""

import gzip
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from ops.atomic import read_json, write_bytes, write_json
from ops.errors import InputError
from ops.pool import end_with_parent
from ops.progress import track
from ops.sample_crawl.archive import mark_path, warc_filename, write_file
from ops.sample_crawl.config import STDLIB, SampleCrawlConfig
from ops.sample_crawl.content import Rendered
from ops.sample_crawl.index import write_indexes
from ops.sample_crawl.plan import Files, make_sites, num_new_pages, plan
from ops.sample_crawl.sources import (
    PageSource,
    collect,
    package_license,
    package_versions,
    stable_hash,
)
from ops.stage import Check, Execution, Inputs, StageResult

PAGES_PER_TASK = 40
"""What a kill loses at most of each process's rendering."""

PORTIONS = "portions"
"""Folder of rendered pages whose WARC files are not all written."""

FIRST_LIMIT = 1.2
"""How many times its even share of pages a package is first asked for."""


def observe(config: SampleCrawlConfig, execution: Execution) -> dict[str, str]:
    """What decides about the text beside the config: package versions."""
    return package_versions(config)


def run(config: SampleCrawlConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write the sample crawl into `out`, skipping WARC files and rendered portions of pages that are there already.

    Files: `crawl-data/<crawl>/segments/0/warc/*.warc.gz` and `crawl-data/<crawl>/warc.paths.gz`; `cc-index/` with CDXJ
    and columnar index; `manifest.json` (files with bytes, sha256 and licences of their texts; package versions);
    `expected.json` (kind -> what of that kind is planted: crawl, url, and where it applies the original, evaluation
    items or language); `marks/`.

    Raises:
        InputError: when a package is missing or provides too little text.
    """
    versions = package_versions(config)
    keys = [(crawl, index) for crawl in config.crawls for index in range(config.files_per_crawl)]
    missing = [key for key in keys if not _is_finished(config, out, *key)]
    if missing:
        with _pool(execution.num_processes) as parallel_map:
            _build(config, out, missing, versions, parallel_map)
    if (out / PORTIONS).exists():
        shutil.rmtree(out / PORTIONS)
    marks = {key: read_json(mark_path(out, *key)) for key in keys}
    for crawl in config.crawls:
        own = [marks[key] for key in keys if key[0] == crawl]
        write_indexes(out, crawl, [capture for mark in own for capture in mark["captures"]])
        paths = "".join(mark["file"]["path"] + "\n" for mark in own)
        write_bytes(out / "crawl-data" / crawl / "warc.paths.gz", gzip.compress(paths.encode(), mtime=0))
    expected: dict[str, list[Any]] = {}
    for mark in marks.values():
        for entry in mark["planted"]:
            values = {name: value for name, value in entry.items() if name != "kind"}
            expected.setdefault(entry["kind"], []).append(values)
    write_json(out / "expected.json", expected)
    return _report(config, out, versions, list(marks.values()), expected)


def _report(
    config: SampleCrawlConfig,
    out: Path,
    versions: dict[str, str],
    marks: Sequence[dict[str, Any]],
    expected: dict[str, list[Any]],
) -> StageResult:
    pages: Counter[str] = Counter()
    formulas: Counter[str] = Counter()
    for mark in marks:
        pages.update(mark["pages_by_carrier"])
        formulas.update(mark["formulas_by_carrier"])
    files = [mark["file"] for mark in marks]
    crawls = {
        crawl: {"warc_files": [file for file in files if file["path"].startswith(f"crawl-data/{crawl}/")]}
        for crawl in config.crawls
    }
    licenses = {package: package_license(package) for package in sorted([*config.math_packages, STDLIB, "sphinx"])}
    manifest = {
        "crawls": crawls,
        "package_versions": versions,
        "licenses": licenses,
        "pages_by_carrier": dict(pages),
        "formulas_by_carrier": dict(formulas),
    }
    write_json(out / "manifest.json", manifest)
    absent = sorted(set(config.carriers) - set(formulas))
    return StageResult(
        counts={
            "documentation_pages": sum(file["documentation_pages"] for file in files),
            "captures": sum(file["captures"] for file in files),
            "records": sum(file["records"] for file in files),
            "warc_files": len(files),
            "bytes": sum(file["bytes"] for file in files),
            "formulas": sum(formulas.values()),
            "formulas_left_as_tex": sum(mark["formulas_left_as_tex"] for mark in marks),
        },
        checks=[
            Check(
                name="every_carrier_present",
                passed=not absent,
                description="every configured carrier of mathematics carries a formula",
                metadata={"absent": absent, "formulas_by_carrier": dict(formulas)},
            )
        ],
        summary={
            "planted": {kind: len(entries) for kind, entries in sorted(expected.items())},
            "pages_by_carrier": dict(sorted(pages.items())),
            "formulas_by_carrier": dict(sorted(formulas.items())),
            "licenses": licenses,
        },
    )


def _is_finished(config: SampleCrawlConfig, out: Path, crawl: str, index: int) -> bool:
    mark = mark_path(out, crawl, index)
    warc = out / warc_filename(config, crawl, index)
    return mark.exists() and warc.exists() and warc.stat().st_size == read_json(mark)["file"]["bytes"]


Map = Callable[..., Iterator[Any]]


def _build(
    config: SampleCrawlConfig, out: Path, missing: Sequence[tuple[str, int]], versions: dict[str, str], parallel: Map
) -> None:
    pages = _select(config, parallel)
    files = plan(config, pages, make_sites(config, pages, versions))
    fetched = {(c.crawl, c.url): c.fetch_time for captures in files.values() for c in captures}
    indexes = sorted({index for _, index in missing})
    tasks = [task for index in indexes for task in _tasks(config, files, missing, index)]
    render = partial(render_portion, config, out / PORTIONS)
    results = zip(tasks, parallel(render, [sources for _, sources in tasks]), strict=True)
    num_pages = sum(len(sources) for _, sources in tasks)
    progress = track(_single(results), description="sample crawl: render", total=num_pages, unit="page")
    rendered: dict[str, Rendered] = {}
    at = indexes[0]

    def finish(index: int) -> None:
        for crawl, own_index in missing:
            if own_index == index:
                write_file(config, out, crawl, index, files[crawl, index], rendered, fetched)
        rendered.clear()

    for index, source, page in progress:
        while index != at:
            finish(at)
            at = indexes[indexes.index(at) + 1]
        rendered[source.key] = page
    for index in indexes[indexes.index(at) :]:
        finish(index)


def _tasks(
    config: SampleCrawlConfig, files: Files, missing: Sequence[tuple[str, int]], index: int
) -> Iterator[tuple[int, list[PageSource]]]:
    """What has to be rendered for the missing files of number `index`, in portions."""
    sources = {
        capture.source.key: capture.source
        for crawl in config.crawls
        if (crawl, index) in missing
        for capture in files[crawl, index]
        if capture.source
    }
    ordered = list(sources.values())
    for start in range(0, len(ordered), PAGES_PER_TASK):
        yield index, ordered[start : start + PAGES_PER_TASK]


def _single(results: Any) -> Iterator[tuple[int, PageSource, Rendered]]:
    for (index, sources), pages in results:
        for source, page in zip(sources, pages, strict=True):
            yield index, source, page


def render_portion(config: SampleCrawlConfig, folder: Path, sources: Sequence[PageSource]) -> list[Rendered]:
    """The main content of pages (runs in a worker), kept in `folder` so that a later attempt need not render them."""
    path = folder / f"{stable_hash('portion', *(source.key for source in sources)):016x}.json"
    if path.exists():
        return [Rendered(**page) for page in read_json(path)]
    pages = render_pages(config, sources)
    write_json(path, [asdict(page) for page in pages])
    return pages


def render_pages(config: SampleCrawlConfig, sources: Sequence[PageSource]) -> list[Rendered]:
    """The main content of pages."""
    from ops.sample_crawl.formulas import Carrier
    from ops.sample_crawl.rst import render

    pages = []
    for source in sources:
        name = config.carriers[stable_hash(config.seed, "carrier", source.key) % len(config.carriers)]
        carrier = Carrier(name=name)
        body = render(source, carrier)
        pages.append(
            Rendered(
                body=body,
                carrier=name if carrier.num_formulas else None,
                num_formulas=carrier.num_formulas,
                num_fallback=carrier.num_fallback,
            )
        )
    return pages


def _select(config: SampleCrawlConfig, parallel: Map) -> list[PageSource]:
    """The documentation pages in the order in which the crawls take them.

    Every package gives an even share; what one lacks the others give. Raises InputError when all is not enough.
    """
    total = sum(num_new_pages(config))
    num_stdlib = round(total * config.stdlib_share)
    needed = {name: ceil((total - num_stdlib) / len(config.math_packages)) for name in config.math_packages}
    limits = {name: ceil(share * FIRST_LIMIT) for name, share in needed.items()} | {STDLIB: num_stdlib}
    while True:
        found = dict(zip(limits, parallel(partial(_collect, config), list(limits.items())), strict=True))
        math = {name: found[name] for name in config.math_packages}
        short = total - num_stdlib - sum(map(len, math.values()))
        exhausted = [name for name in math if len(math[name]) < limits[name]]
        if short <= 0 and len(found[STDLIB]) == num_stdlib:
            break
        if len(found[STDLIB]) < num_stdlib or len(exhausted) == len(math):
            have = {name: len(pages) for name, pages in found.items()}
            raise InputError(f"num_pages: {total} new pages are needed, the packages have {have}")
        limits |= {name: 2 * limit for name, limit in limits.items() if name in math}
    chosen = found[STDLIB]
    remaining = total - num_stdlib
    for count, name in enumerate(sorted(math, key=lambda name: len(math[name]))):
        share = min(len(math[name]), ceil(remaining / (len(math) - count)))
        chosen += math[name][:share]
        remaining -= share
    return sorted(chosen, key=lambda page: stable_hash(config.seed, "order", page.key))


def _collect(config: SampleCrawlConfig, wanted: tuple[str, int]) -> list[PageSource]:
    package, limit = wanted
    return collect(config, package, limit)


@contextmanager
def _pool(num_processes: int) -> Iterator[Map]:
    """A `map` over `num_processes` processes; the plain one for a single process."""
    if num_processes <= 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context, initializer=end_with_parent) as executor:
        yield executor.map
