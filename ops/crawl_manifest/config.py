"""Which crawl, from where, in how many buckets."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ops.errors import InputError
from ops.warc.surt import surt_host, surt_key

CRAWL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PUBLIC_ROOT = "https://data.commoncrawl.org"
MAX_BUCKETS = 99
"""Dagster compares the data versions of fewer than 100 upstream partitions an edge, and of no more."""


@dataclass(frozen=True, kw_only=True)
class SampleSource:
    """The WARC files of the sample crawl (input `sample_crawl`), read whole."""


@dataclass(frozen=True, kw_only=True)
class WarcFiles:
    """Every WARC file at `execution.source` (a folder, one file, an S3 prefix or a web page of links), read whole."""


@dataclass(frozen=True, kw_only=True)
class CommonCrawl:
    """Records of a crawl in Common Crawl's layout, found in its columnar index and read by range.

    `execution.source` is the root of that layout: `https://data.commoncrawl.org` when it is not set,
    `s3://commoncrawl` with credentials, or any copy (a folder, another bucket).
    """

    urls: tuple[str, ...] = ()
    """Addresses; a page is found under http and https, with and without `www` and the trailing slash (by SURT key)."""

    url_list_sha256: str | None = None
    """For many addresses: SHA-256 of the file `urls.txt` (one address a line) in the input `url_list`."""

    domains: tuple[str, ...] = ()
    """Host names; every page of them and of their subdomains."""

    mime_types: tuple[str, ...] = ("text/html", "application/xhtml+xml")
    """Media types as served; a page that declares none is taken as well."""

    rows_per_part: int = 1000
    """Records a part, the unit of resuming."""

    def __post_init__(self) -> None:
        if not self.urls and not self.domains and self.url_list_sha256 is None:
            raise InputError("source: CommonCrawl needs urls, url_list_sha256 or domains")
        if self.url_list_sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.url_list_sha256):
            raise InputError(f"source.url_list_sha256: {self.url_list_sha256!r} is not 64 lower-case hex digits")
        for url in self.urls:
            _named("source.urls", surt_key, url)
        for domain in self.domains:
            _named("source.domains", surt_host, domain)
            if re.match(r"www\d*\.", domain.lower()):
                raise InputError(f"source.domains: {domain!r}: leave out the www, keys in the index have none")
        if not self.mime_types:
            raise InputError("source.mime_types: empty")
        if self.rows_per_part < 1:
            raise InputError(f"source.rows_per_part: must be at least 1, got {self.rows_per_part}")


@dataclass(frozen=True, kw_only=True)
class CrawlManifestConfig:
    """One crawl's manifest."""

    crawl: str
    """Crawl id, such as CC-MAIN-2024-22."""

    source: SampleSource | WarcFiles | CommonCrawl = field(default_factory=SampleSource)
    num_buckets: int = 4
    """Partitions of the crawl. A WARC file, or a page, keeps its bucket whatever else belongs to the crawl."""

    def __post_init__(self) -> None:
        if not CRAWL_ID.fullmatch(self.crawl):
            raise InputError(f"crawl: {self.crawl!r} is no crawl id (letters, digits, dot, dash, underscore)")
        if not 1 <= self.num_buckets <= MAX_BUCKETS:
            raise InputError(f"num_buckets: must be 1 to {MAX_BUCKETS}, got {self.num_buckets}")


def _named(field_name: str, parse: Callable[[str], str], value: str) -> None:
    try:
        parse(value)
    except InputError as error:
        raise InputError(f"{field_name}: {error}") from error
