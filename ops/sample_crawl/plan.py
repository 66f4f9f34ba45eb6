"""Which page is captured when, where and in what state: the whole crawl decided before anything is rendered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from ops.errors import InputError
from ops.sample_crawl.config import STDLIB, SampleCrawlConfig, crawl_start
from ops.sample_crawl.evaluation import EvalItem, eval_items
from ops.sample_crawl.languages import TranslatedPage, translated_pages
from ops.sample_crawl.sites import FORUM, LAYOUTS, TITLES, Site, page_path
from ops.sample_crawl.sources import PageSource, stable_hash

PAGE = "page"
FAULTY_PAGES = ("truncated", "wrong_length", "digest_mismatch", "bad_charset", "declared_charset")
"""Kinds that spoil a documentation page."""

MIN_EDITED_CHARS = 1200
"""A page that is edited is long enough for the edited one to be a near duplicate."""


@dataclass(frozen=True, kw_only=True)
class Capture:
    """One response (or revisit) of a crawl."""

    crawl: str
    url: str
    kind: str
    site: Site
    source: PageSource | None = None
    items: tuple[EvalItem, ...] = ()
    translation: TranslatedPage | None = None
    original: "Capture | None" = None
    number: int = 0  # among its kind in the crawl
    fetch_time: datetime = datetime.min

    @property
    def file_key(self) -> str:
        """Captures with the same one lie in files of the same number, so that a page is rendered once."""
        return self.source.key if self.source else self.url


def make_sites(config: SampleCrawlConfig, pages: Sequence[PageSource], versions: Mapping[str, str]) -> dict[str, Site]:
    """A documentation site a package, a mirror of all, and a forum."""
    sites = {}
    packages = [*config.math_packages, STDLIB]
    for number, package in enumerate(packages):
        modules = sorted({".".join(page.module.split(".")[:2]) for page in pages if page.package == package})
        sites[package] = Site(
            name=package,
            host="docs.pylib.example" if package == STDLIB else f"docs.{package}.example",
            title=TITLES.get(package, package),
            version=versions["python" if package == STDLIB else package],
            layout=LAYOUTS[number % 2],
            sections=tuple(modules[:: max(1, len(modules) // 14)]),
        )
    everything = tuple(site.title for site in sites.values())
    sites["mirror"] = Site(
        name="mirror", host="www.docmirror.example", title="Doc Mirror", version="", layout="cards", sections=everything
    )
    sites[FORUM] = Site(
        name=FORUM, host="study.forum.example", title="Study Forum", version="", layout=FORUM, sections=everything
    )
    return sites


def num_new_pages(config: SampleCrawlConfig) -> list[int]:
    """How many documentation pages each crawl has that were in no crawl before and mirror nothing."""
    return [pages - sum(again.values()) for pages, again in _shares(config)]


def _shares(config: SampleCrawlConfig) -> list[tuple[int, dict[str, int]]]:
    """For every crawl: its number of documentation pages, and how many of them are not new, by kind."""
    count = len(config.crawls)
    shares = []
    for number in range(count):
        pages = config.num_pages // count + (number < config.num_pages % count)
        again = {
            "exact_duplicate": round(pages * config.exact_duplicate_share) if number else 0,
            "edited_duplicate": round(pages * config.edited_duplicate_share) if number else 0,
            "mirror": round(pages * config.mirror_share),
        }
        shares.append((pages, again))
    return shares


Files = dict[tuple[str, int], list[Capture]]
"""Captures in the order of the file, by crawl and number of the WARC file."""


def plan(config: SampleCrawlConfig, pages: Sequence[PageSource], sites: Mapping[str, Site]) -> Files:
    """Decide the captures of every WARC file.

    `pages`: as many as `num_new_pages` sums up to.

    Raises:
        InputError: when there are too few pages for what is to be planted.
    """
    num_quotes = config.num_eval_pages // 2
    num_quizzes = config.num_eval_pages - num_quotes
    per_crawl = num_quotes + num_quizzes * config.items_per_eval_page
    items = iter(eval_items(config, per_crawl * len(config.crawls)))
    translations = translated_pages(config)
    fresh = iter(pages)
    before: list[Capture] = []
    files: Files = {(crawl, index): [] for crawl in config.crawls for index in range(config.files_per_crawl)}
    for number, (crawl, needed) in enumerate(zip(config.crawls, num_new_pages(config), strict=True)):
        _, again = _shares(config)[number]
        pool = [_page(crawl, sites, page) for page in islice(fresh, needed)]
        captures = [
            *_again(crawl, "exact_duplicate", _take(before, again["exact_duplicate"], "exact_duplicate")),
            *_again(crawl, "edited_duplicate", _take(before, again["edited_duplicate"], "edited_duplicate", _is_long)),
            *_again(crawl, "revisit", _take(before, config.num_faults if number else 0, "revisit")),
        ]
        for kind in FAULTY_PAGES:
            wanted = _has_latin_letters if "charset" in kind else _anything
            spoiled = _take(pool, config.num_faults, kind, wanted)
            captures += [replace(capture, kind=kind, number=index) for index, capture in enumerate(spoiled)]
        quoting = _take(pool, num_quotes, "evaluation_quote")
        captures += [replace(capture, kind="evaluation_quote", items=(next(items),)) for capture in quoting]
        mirrored = _take(pool, again["mirror"], "mirror")
        captures += [*mirrored, *(_mirror(sites, capture) for capture in mirrored)]
        captures += pool
        captures += [
            _quiz(crawl, sites, tuple(islice(items, config.items_per_eval_page)), index) for index in range(num_quizzes)
        ]
        captures += [
            _translation(crawl, sites, page)
            for page in translations
            if page.number // config.pages_per_language == number
        ]
        captures += _added(config, crawl, sites)
        before = pool
        for capture in captures:
            files[crawl, stable_hash(config.seed, capture.file_key) % config.files_per_crawl].append(capture)
    return {key: _timed(config, key, captures) for key, captures in files.items()}


def _anything(_: Capture) -> bool:
    return True


def _is_long(capture: Capture) -> bool:
    return capture.source is not None and capture.source.num_chars >= MIN_EDITED_CHARS


def _has_latin_letters(capture: Capture) -> bool:
    return capture.source is not None and any("\xc0" <= letter <= "\xff" for letter in capture.source.text)


def _take(pool: list[Capture], count: int, kind: str, wanted: Callable[[Capture], bool] = _anything) -> list[Capture]:
    """Remove `count` captures from the pool, the wanted ones first."""
    if len(pool) < count:
        raise InputError(f"num_pages: too few for the pages of kind {kind!r}: {count} needed, {len(pool)} left")
    chosen = sorted(pool, key=lambda capture: not wanted(capture))[:count]
    taken = {id(capture) for capture in chosen}
    pool[:] = [capture for capture in pool if id(capture) not in taken]
    return chosen


def _page(crawl: str, sites: Mapping[str, Site], page: PageSource) -> Capture:
    site = sites[page.package]
    return Capture(crawl=crawl, url=site.url(page_path(page.module, page.name)), kind=PAGE, site=site, source=page)


def _again(crawl: str, kind: str, originals: Sequence[Capture]) -> list[Capture]:
    return [replace(original, crawl=crawl, kind=kind, original=original) for original in originals]


def _mirror(sites: Mapping[str, Site], original: Capture) -> Capture:
    assert original.source is not None
    site = sites["mirror"]
    url = site.url(f"show?package={original.source.package}&object={original.source.module}.{original.source.name}")
    return replace(original, url=url, kind="mirror", site=site, original=original)


def _quiz(crawl: str, sites: Mapping[str, Site], items: tuple[EvalItem, ...], index: int) -> Capture:
    site = sites[FORUM]
    url = site.url(f"questions/{crawl.lower()}/{index}/practice-questions")
    return Capture(crawl=crawl, url=url, kind="evaluation_quiz", site=site, items=items, number=index)


def _translation(crawl: str, sites: Mapping[str, Site], page: TranslatedPage) -> Capture:
    site = sites["mirror"]
    url = site.url(f"{page.language.lower()}/handbook/{page.number}.html")
    return Capture(crawl=crawl, url=url, kind="other_language", site=site, translation=page, number=page.number)


def _added(config: SampleCrawlConfig, crawl: str, sites: Mapping[str, Site]) -> list[Capture]:
    packages = [site for name, site in sites.items() if name not in ("mirror", FORUM)]
    paths = {
        "redirect": "en/latest/{}-{}.html",
        "not_found": "en/stable/removed/{}-{}.html",
        "empty": "en/stable/empty/{}-{}.html",
        "boilerplate": "search/{}-{}.html",
        "non_html": "downloads/{}-{}",
    }
    captures = []
    for kind, path in paths.items():
        for index in range(config.num_faults):
            site = packages[index % len(packages)]
            url = site.url(path.format(crawl.lower(), index))
            captures.append(Capture(crawl=crawl, url=url, kind=kind, site=site, number=index))
    return captures


def _timed(config: SampleCrawlConfig, key: tuple[str, int], captures: list[Capture]) -> list[Capture]:
    """Put a file's captures in order and spread them over the file's part of the crawl's week."""
    start, end = file_span(config, *key)
    ordered = sorted(captures, key=lambda capture: stable_hash(config.seed, capture.url, capture.kind))
    step = (end - start) / (len(ordered) + 1)
    return [
        replace(capture, fetch_time=(start + step * (index + 1)).replace(microsecond=0))
        for index, capture in enumerate(ordered)
    ]


def file_span(config: SampleCrawlConfig, crawl: str, index: int) -> tuple[datetime, datetime]:
    """The time that a WARC file covers."""
    span = timedelta(days=7) / config.files_per_crawl
    start = crawl_start(crawl) + span * index
    return start.replace(microsecond=0), (start + span).replace(microsecond=0)
