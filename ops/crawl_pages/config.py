"""Which responses are pages."""

from dataclasses import dataclass

from ops.errors import InputError


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
