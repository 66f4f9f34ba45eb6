"""Which responses are pages."""

from dataclasses import dataclass, replace
from functools import cached_property

from ops.errors import InputError
from ops.warc.surt import surt_host, surt_key


@dataclass(frozen=True, kw_only=True)
class Takedown:
    """Pages that must not be kept, as their owner asked: one address, or a domain with its subdomains."""

    url: str | None = None
    domain: str | None = None
    clean: tuple[str, ...] = ()
    """Partitions (`CRAWL|BUCKET`) that were looked through when it was asked and hold none of them: they stay."""

    def __post_init__(self) -> None:
        if (self.url is None) == (self.domain is None):
            raise InputError(f"takedown: exactly one of url and domain, got {self.url!r} and {self.domain!r}")
        _ = self._key

    @cached_property
    def _key(self) -> str:
        return surt_key(self.url) if self.url is not None else surt_host(self.domain or "")

    def matches(self, url: str) -> bool:
        """Whether a page's address is meant: under any scheme, with `www` or without, whatever its fragment."""
        try:
            key = surt_key(url)
        except InputError:
            return False
        if self.url is not None:
            return key == self._key
        host = key.partition(")")[0].partition(":")[0]
        return host == self._key or host.startswith(f"{self._key},")


@dataclass(frozen=True, kw_only=True)
class CrawlPagesConfig:
    """One bucket, and what of it is kept."""

    bucket: int
    max_page_bytes: int = 8 * 1024 * 1024
    """Larger bodies are dropped (`too_large`). Common Crawl cuts at 1 MiB, since 2025 at 5 MiB."""

    accepted_mime_types: tuple[str, ...] = (
        "text/html",
        "application/xhtml+xml",
        "text/plain",
        "text/markdown",
        "text/x-markdown",
        "text/x-rst",
        "text/x-tex",
        "text/x-latex",
        "application/x-tex",
        "application/x-latex",
        "application/x-ipynb+json",
    )
    """Media types as the HTTP header declares them. A response that declares none is a page when it begins as HTML,
    one of `application/json` when it is a Jupyter notebook and notebooks are accepted."""

    keep_truncated: bool = False
    """Keep responses that the crawler cut (WARC-Truncated), noted in `content_truncated`; otherwise drop them."""

    takedowns: tuple[Takedown, ...] = ()
    """Pages that are dropped (`taken_down`)."""

    def at(self, crawl: str, bucket: str) -> "CrawlPagesConfig":
        """The config of one partition: a takedown that found nothing in it is no part of its identity."""
        key = f"{crawl}|{bucket}"
        meant = tuple(replace(item, clean=()) for item in self.takedowns if key not in item.clean)
        return replace(self, bucket=int(bucket), takedowns=meant)

    def __post_init__(self) -> None:
        if self.bucket < 0:
            raise InputError(f"bucket: must be at least 0, got {self.bucket}")
        if self.max_page_bytes < 1:
            raise InputError(f"max_page_bytes: must be at least 1, got {self.max_page_bytes}")
        if not self.accepted_mime_types:
            raise InputError("accepted_mime_types: empty")
        for mime_type in self.accepted_mime_types:
            if mime_type != mime_type.strip().lower() or "/" not in mime_type or ";" in mime_type:
                raise InputError(f"accepted_mime_types: {mime_type!r} is not type/subtype in lower case")
