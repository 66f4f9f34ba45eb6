"""One WARC file of the crawl: its records, and a mark beside that says what is in it."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ops.atomic import atomic_path, write_json
from ops.sample_crawl.config import SampleCrawlConfig
from ops.sample_crawl.content import Rendered, Response, respond
from ops.sample_crawl.plan import PAGE, Capture, file_span
from ops.sample_crawl.sources import package_license, stable_hash
from ops.sample_crawl.warc import digest, gzip_member, http_response, record, record_id, warc_fields

SEGMENT = "0"
TOO_LONG_BY = 3000
REVISIT_PROFILE = "http://netpreserve.org/warc/1.0/revisit/identical-payload-digest"
Fetched = Mapping[tuple[str, str], datetime]
"""When a URL was fetched in a crawl."""


def warc_filename(config: SampleCrawlConfig, crawl: str, index: int) -> str:
    """Path of a WARC file under the crawl's root."""
    start, _ = file_span(config, crawl, index)
    return f"crawl-data/{crawl}/segments/{SEGMENT}/warc/{crawl}-{start:%Y%m%d%H%M%S}-{index:05d}.warc.gz"


def mark_path(out: Path, crawl: str, index: int) -> Path:
    """The mark of a finished WARC file."""
    return out / "marks" / f"{crawl}-{index:05d}.json"


def write_file(
    config: SampleCrawlConfig,
    out: Path,
    crawl: str,
    index: int,
    captures: Sequence[Capture],
    rendered: Mapping[str, Rendered],
    fetched: Fetched,
) -> None:
    """Write a WARC file and then its mark: file facts, index rows, and what is planted.

    `rendered`: content of documentation pages by `PageSource.key`.
    """
    filename = warc_filename(config, crawl, index)
    start, _ = file_span(config, crawl, index)
    info_id = record_id(crawl, index, "warcinfo")
    rows: list[dict[str, Any]] = []
    sha256 = hashlib.sha256()
    offset = num_records = 0
    with atomic_path(out / filename) as temporary, temporary.open("wb") as stream:

        def write(data: bytes) -> int:
            nonlocal offset, num_records
            member = gzip_member(data)
            stream.write(member)
            sha256.update(member)
            offset += len(member)
            num_records += 1
            return len(member)

        write(_warcinfo(crawl, filename, info_id, _iso(start)))
        for capture in captures:
            source = rendered.get(capture.source.key) if capture.source else None
            exchange = _Exchange(capture, respond(capture, source), f"<urn:uuid:{info_id}>")
            write(exchange.request())
            at = offset
            answer = exchange.revisit(fetched) if capture.kind == "revisit" else exchange.response()
            rows.append(exchange.index_row(filename, at, write(answer)))
            write(exchange.metadata())
    pages = [rendered[c.source.key] for c in captures if c.source and c.kind != "revisit"]
    packages = {capture.source.package for capture in captures if capture.source}
    if any(capture.translation for capture in captures):
        packages.add("sphinx")
    formulas: Counter[str] = Counter()
    carriers: Counter[str] = Counter()
    for page in pages:
        if page.carrier:
            carriers[page.carrier] += 1
            formulas[page.carrier] += page.num_formulas
    mark = {
        "captures": rows,
        "file": {
            "path": filename,
            "bytes": offset,
            "sha256": sha256.hexdigest(),
            "records": num_records,
            "captures": len(captures),
            "documentation_pages": len(pages),
            "licenses": {package: package_license(package) for package in sorted(packages)},
        },
        "pages_by_carrier": dict(carriers),
        "formulas_by_carrier": dict(formulas),
        "formulas_left_as_tex": sum(page.num_fallback for page in pages),
        "planted": [_planted(capture) for capture in captures if capture.kind != PAGE],
    }
    write_json(mark_path(out, crawl, index), mark)


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _planted(capture: Capture) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": capture.kind, "crawl": capture.crawl, "url": capture.url}
    if capture.original:
        entry |= {"of_crawl": capture.original.crawl, "of_url": capture.original.url}
    if capture.items:
        entry["items"] = [item.name for item in capture.items]
    if capture.translation:
        entry["language"] = capture.translation.language
    return entry


def _warcinfo(crawl: str, filename: str, identifier: Any, date: str) -> bytes:
    block = warc_fields(
        [
            ("isPartOf", crawl),
            ("publisher", "Stillhouse"),
            ("description", "Sample crawl made from the documentation of installed packages"),
            ("format", "WARC File Format 1.0"),
            ("conformsTo", "https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.0/"),
        ]
    )
    headers = [("WARC-Filename", filename.rpartition("/")[2])]
    fields = "application/warc-fields"
    return record("warcinfo", identifier=identifier, date=date, content_type=fields, block=block, headers=headers)


class _Exchange:
    """Request, response and metadata records of one capture."""

    def __init__(self, capture: Capture, answer: Response, info_id: str) -> None:
        self.capture = capture
        self.answer = answer
        self.info_id = info_id
        self.date = _iso(capture.fetch_time)
        address = stable_hash(capture.site.host)
        self.address = f"192.0.2.{address % 254 + 1}"  # RFC 5737: for documentation
        parts = (capture.crawl, capture.url, capture.kind)
        self.request_id = record_id(*parts, "request")
        self.response_id = record_id(*parts, "response")
        self.metadata_id = record_id(*parts, "metadata")
        self.payload_digest = digest(answer.body)

    def request(self) -> bytes:
        parts = urlsplit(self.capture.url)
        target = parts.path + ("?" + parts.query if parts.query else "")
        lines = [
            f"GET {target} HTTP/1.1",
            "User-Agent: stillhouse-sample/1.0",
            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "Accept-Language: en-US,en;q=0.5",
            "Accept-Encoding: gzip",
            f"Host: {parts.netloc}",
            "Connection: Keep-Alive",
        ]
        block = ("\r\n".join(lines) + "\r\n\r\n").encode()
        return record(
            "request",
            identifier=self.request_id,
            date=self.date,
            content_type="application/http; msgtype=request",
            block=block,
            headers=[
                ("WARC-Warcinfo-ID", self.info_id),
                ("WARC-IP-Address", self.address),
                ("WARC-Target-URI", self.capture.url),
                ("WARC-Block-Digest", digest(block)),
            ],
        )

    def response(self) -> bytes:
        answer = self.answer
        block = http_response(answer.status, answer.reason, self._http_headers(), answer.body)
        headers = [*self._warc_headers(), ("WARC-Payload-Digest", self.payload_digest)]
        block_digest = digest(block)
        if self.capture.kind == "digest_mismatch":  # damaged after it was written
            middle = len(block) - len(answer.body) // 2
            block = block[:middle] + b"\x00" + block[middle + 1 :]
        headers.append(("WARC-Block-Digest", block_digest))
        if answer.truncated:
            headers.append(("WARC-Truncated", answer.truncated))
        if answer.mime_detected:
            headers.append(("WARC-Identified-Payload-Type", answer.mime_detected))
        length = None
        if self.capture.kind == "wrong_length":
            length = len(block) + TOO_LONG_BY if self.capture.number % 2 == 0 else len(block) // 2
        return record(
            "response",
            identifier=self.response_id,
            date=self.date,
            content_type="application/http; msgtype=response",
            block=block,
            headers=headers,
            content_length=length,
        )

    def revisit(self, fetched: Fetched) -> bytes:
        """A record that says the payload is still that of an earlier capture, and holds the HTTP header alone."""
        original = self.capture.original
        assert original is not None
        block = http_response(200, "OK", self._http_headers(), b"")
        return record(
            "revisit",
            identifier=self.response_id,
            date=self.date,
            content_type="application/http; msgtype=response",
            block=block,
            headers=[
                *self._warc_headers(),
                ("WARC-Profile", REVISIT_PROFILE),
                ("WARC-Refers-To-Target-URI", original.url),
                ("WARC-Refers-To-Date", _iso(fetched[original.crawl, original.url])),
                ("WARC-Payload-Digest", self.payload_digest),
                ("WARC-Block-Digest", digest(block)),
            ],
        )

    def metadata(self) -> bytes:
        fields = [("fetchTimeMs", str(40 + stable_hash(self.capture.url) % 900))]
        if self.answer.charset:
            fields.append(("charset-detected", self.answer.charset))
        if self.answer.language:
            languages = {"reliable": True, "languages": [{"code-iso-639-3": self.answer.language}]}
            fields.append(("languages-cld2", json.dumps(languages)))
        block = warc_fields(fields)
        return record(
            "metadata",
            identifier=self.metadata_id,
            date=self.date,
            content_type="application/warc-fields",
            block=block,
            headers=[
                ("WARC-Warcinfo-ID", self.info_id),
                ("WARC-Concurrent-To", f"<urn:uuid:{self.response_id}>"),
                ("WARC-Target-URI", self.capture.url),
                ("WARC-Block-Digest", digest(block)),
            ],
        )

    def _warc_headers(self) -> list[tuple[str, str]]:
        return [
            ("WARC-Warcinfo-ID", self.info_id),
            ("WARC-Concurrent-To", f"<urn:uuid:{self.request_id}>"),
            ("WARC-IP-Address", self.address),
            ("WARC-Target-URI", self.capture.url),
        ]

    def _http_headers(self) -> list[tuple[str, str]]:
        """As Common Crawl stores them: what named the encoding on the wire is renamed, the length is the stored one."""
        answer = self.answer
        headers = [
            ("Date", format_datetime(self.capture.fetch_time.astimezone(UTC), usegmt=True)),
            ("Server", "nginx"),
            ("X-Crawl-Content-Encoding", "gzip"),
            ("Vary", "Accept-Encoding"),
        ]
        if answer.content_type:
            headers.append(("Content-Type", answer.content_type))
        if answer.location:
            headers.append(("Location", answer.location))
        if answer.full_length is not None:
            headers.append(("X-Crawl-Content-Length", str(answer.full_length)))
        headers.append(("Content-Length", str(len(answer.body))))
        return headers

    def index_row(self, filename: str, offset: int, length: int) -> dict[str, Any]:
        """This capture's entry in the indexes (`ops.sample_crawl.index`)."""
        answer = self.answer
        is_revisit = self.capture.kind == "revisit"
        return {
            "url": self.capture.url,
            "indexed": not is_revisit,  # in the columnar index; CDXJ has it all the same
            "fetch_time": self.date,
            "fetch_status": answer.status,
            "fetch_redirect": answer.location,
            "content_digest": self.payload_digest.removeprefix("sha1:"),
            "content_mime_type": "warc/revisit" if is_revisit else answer.mime_type,
            "content_mime_detected": None if is_revisit else answer.mime_detected,
            "content_charset": answer.charset,
            "content_languages": answer.language,
            "content_truncated": answer.truncated,
            "warc_record_id": str(self.response_id),
            "warc_filename": filename,
            "warc_record_offset": offset,
            "warc_record_length": length,
            "warc_segment": SEGMENT,
        }
