"""From a WARC record to a page, or to the reason why it is none."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.crawl_pages.config import CrawlPagesConfig
from ops.parts import Batch
from ops.schema import doc_id
from ops.warc.digests import digest_matches
from ops.warc.http import (
    BadCoding,
    BadHttp,
    HttpResponse,
    TooLarge,
    parse_response,
    remove_content_codings,
    remove_transfer_coding,
)
from ops.warc.record import MAX_HEADER_BYTES, Damage, WarcRecord

BEGINS_AS_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(?:!doctype\s+html|html)", re.I | re.S
)
JSON, NOTEBOOK_TYPE = "application/json", "application/x-ipynb+json"
NOTEBOOK = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{(?=.*"nbformat")(?=.*"cell_type")', re.S)
"""Jupyter notebooks are mostly served as plain JSON."""

DOCUMENT_TYPES = ("response", "revisit")
"""Record types that stand for a document. All others are counted as `records_<type>` and are no documents."""


class Dropped(Exception):
    """The record is no page."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, kw_only=True)
class PageReader:
    """Turns the records of one WARC file into rows."""

    config: CrawlPagesConfig
    crawl: str
    warc_filename: str

    @property
    def max_block_bytes(self) -> int:
        """What has to be read of a record: the largest page and the HTTP header before it."""
        return self.config.max_page_bytes + MAX_HEADER_BYTES

    def add(self, item: WarcRecord | Damage, batch: Batch) -> None:
        """Put a record into `batch`: kept, dropped for a reason, or counted when it stands for no document."""
        batch.counts["records"] += 1
        batch.counts["stored_bytes"] += item.length
        where = self.provenance(item.offset, item.length, item.url)
        if isinstance(item, Damage):
            batch.drop(where, item.reason, item.detail)
            return
        if item.type and item.type not in DOCUMENT_TYPES:
            batch.counts[f"records_{item.type}"] += 1
            return
        try:
            page = self._page(item, batch.counts)
        except Dropped as dropped:
            batch.drop(where, dropped.reason, dropped.detail)
        else:
            batch.keep({**where, **page})
            batch.counts["content_bytes"] += len(page["content"])

    def provenance(self, offset: int, length: int, url: str) -> dict[str, Any]:
        """The columns that lead back to the record."""
        return {
            "doc_id": doc_id(self.crawl, self.warc_filename, offset),
            "crawl": self.crawl,
            "url": url,
            "warc_filename": self.warc_filename,
            "warc_record_offset": offset,
            "warc_record_length": length,
        }

    def _page(self, record: WarcRecord, counts: Counter[str]) -> Mapping[str, Any]:
        if not record.type or not record.url:
            raise Dropped("bad_warc_header", f"WARC-{'Target-URI' if record.type else 'Type'} is missing")
        if record.type == "revisit":
            raise Dropped("revisit", record.headers.get("WARC-Refers-To-Target-URI") or "")
        block_type = (record.headers.get("Content-Type") or "application/http").partition(";")[0].strip().lower()
        if block_type != "application/http":
            raise Dropped("not_http", block_type)
        if any(takedown.matches(record.url) for takedown in self.config.takedowns):
            raise Dropped("taken_down")
        response = _parse(record)
        if 300 <= response.status < 400:
            raise Dropped("redirect", f"{response.status} {response.headers.get('Location') or ''}".strip())
        if response.status != 200:
            raise Dropped("http_status", str(response.status))
        self._check_mime_type(response)
        truncated = record.headers.get("WARC-Truncated")
        if truncated is not None and not self.config.keep_truncated:
            raise Dropped("truncated", truncated)
        if record.block_length > len(record.block):
            raise Dropped("too_large", f"block of {record.block_length} bytes")
        content, digest = self._content(record, response, truncated is not None, counts)
        if response.mime_type == JSON and not NOTEBOOK.match(content):
            raise Dropped("mime_type", response.mime_type)
        return {
            "fetch_time": record.headers.get("WARC-Date"),
            "http_status": response.status,
            "content_mime_type": response.mime_type,
            "content_charset": response.charset,
            "content_digest": digest,
            "content_truncated": truncated,
            "content": content,
        }

    def _check_mime_type(self, response: HttpResponse) -> None:
        if response.mime_type is None:
            if not BEGINS_AS_HTML.match(response.body[:4096]):
                raise Dropped("mime_type", "none declared")
        else:
            sought = NOTEBOOK_TYPE if response.mime_type == JSON else response.mime_type
            if sought not in self.config.accepted_mime_types:
                raise Dropped("mime_type", response.mime_type)

    def _content(
        self, record: WarcRecord, response: HttpResponse, truncated: bool, counts: Counter[str]
    ) -> tuple[bytes, str | None]:
        """The decoded body and the digest that the payload was found to have (None: none declared, or unreadable)."""
        try:
            sent = remove_transfer_coding(response)
        except BadHttp as error:
            raise Dropped("bad_http", str(error)) from error
        digest = record.headers.get("WARC-Payload-Digest")
        matches = digest_matches(digest, response.body, sent.body) if digest else None
        if matches is None:
            counts["digests_unreadable" if digest else "digests_absent"] += 1
            digest = None
        elif not matches:
            raise Dropped("payload_digest_mismatch", digest or "")
        try:
            decoded = remove_content_codings(response.headers, sent.body, max_bytes=self.config.max_page_bytes)
        except BadCoding as error:
            raise Dropped("content_encoding", str(error)) from error
        except TooLarge as error:
            raise Dropped("too_large", str(error)) from error
        if not sent.complete and not truncated:
            raise Dropped("bad_http", "the chunked body ends early")
        if not decoded.complete and not truncated:
            raise Dropped("content_encoding", "the compressed body ends early")
        if len(decoded.body) > self.config.max_page_bytes:
            raise Dropped("too_large", f"body of {len(decoded.body)} bytes")
        if not decoded.body.strip():
            raise Dropped("empty_body")
        counts["stale_codings"] += int(sent.stale or decoded.stale)
        return decoded.body, digest


def _parse(record: WarcRecord) -> HttpResponse:
    try:
        return parse_response(record.block)
    except BadHttp as error:
        raise Dropped("bad_http", str(error)) from error
