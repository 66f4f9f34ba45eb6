"""URL indexes beside the WARC files: CDXJ lines and the columnar index, with Common Crawl's names and layout.

Columns: https://github.com/commoncrawl/cc-index-table (cc-index-schema-flat.json). `crawl` and `subset` are folders.
"""

import gzip
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from ops.atomic import write_bytes
from ops.parts import write_rows
from ops.warc.surt import surt_key

COLUMNS = pa.schema(
    [
        pa.field("url_surtkey", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("url_host_name", pa.string(), nullable=False),
        pa.field("url_host_tld", pa.string()),
        pa.field("url_host_2nd_last_part", pa.string()),
        pa.field("url_host_3rd_last_part", pa.string()),
        pa.field("url_host_4th_last_part", pa.string()),
        pa.field("url_host_5th_last_part", pa.string()),
        pa.field("url_host_registry_suffix", pa.string()),
        pa.field("url_host_registered_domain", pa.string()),
        pa.field("url_host_private_suffix", pa.string()),
        pa.field("url_host_private_domain", pa.string()),
        pa.field("url_host_name_reversed", pa.string()),
        pa.field("url_protocol", pa.string(), nullable=False),
        pa.field("url_port", pa.int32()),
        pa.field("url_path", pa.string(), nullable=False),
        pa.field("url_query", pa.string()),
        pa.field("fetch_time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("fetch_status", pa.int16(), nullable=False),
        pa.field("fetch_redirect", pa.string()),
        pa.field("content_digest", pa.string()),
        pa.field("content_mime_type", pa.string()),
        pa.field("content_mime_detected", pa.string()),
        pa.field("content_charset", pa.string()),
        pa.field("content_languages", pa.string()),
        pa.field("content_truncated", pa.string()),
        pa.field("warc_record_id", pa.binary(), nullable=False),
        pa.field("warc_filename", pa.string(), nullable=False),
        pa.field("warc_record_offset", pa.int32(), nullable=False),
        pa.field("warc_record_length", pa.int32(), nullable=False),
        pa.field("warc_segment", pa.string(), nullable=False),
    ]
)

CDXJ_FIELDS = {
    "url": "url",
    "mime": "content_mime_type",
    "mime-detected": "content_mime_detected",
    "status": "fetch_status",
    "digest": "content_digest",
    "length": "warc_record_length",
    "offset": "warc_record_offset",
    "filename": "warc_filename",
    "redirect": "fetch_redirect",
    "languages": "content_languages",
    "charset": "content_charset",
    "truncated": "content_truncated",
}
"""CDXJ key -> column of the same value."""


def url_columns(url: str) -> dict[str, Any]:
    """The columns that follow from the URL. A suffix is one label: the sample's hosts are under `.example`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    labels = host.split(".")
    nth_last = dict(enumerate(reversed(labels), start=1))
    domain = ".".join(labels[-2:])
    return {
        "url_surtkey": surt_key(url),
        "url": url,
        "url_host_name": host,
        "url_host_tld": nth_last.get(1),
        "url_host_2nd_last_part": nth_last.get(2),
        "url_host_3rd_last_part": nth_last.get(3),
        "url_host_4th_last_part": nth_last.get(4),
        "url_host_5th_last_part": nth_last.get(5),
        "url_host_registry_suffix": labels[-1],
        "url_host_registered_domain": domain,
        "url_host_private_suffix": labels[-1],
        "url_host_private_domain": domain,
        "url_host_name_reversed": ".".join(reversed(labels)),
        "url_protocol": parts.scheme,
        "url_port": parts.port,
        "url_path": parts.path,
        "url_query": parts.query or None,
    }


def write_indexes(out: Path, crawl: str, captures: Sequence[Mapping[str, Any]]) -> None:
    """Write both indexes of a crawl.

    `captures`: the columns above that do not follow from the URL, `url`, `fetch_time` in ISO 8601 and `warc_record_id`
    as text. As at Common Crawl, what was fetched well (status 200) is `subset=warc` and the rest
    `subset=crawldiagnostics`; here both lie in the same WARC files. CDXJ has every capture.
    """
    ordered = sorted(captures, key=lambda capture: (surt_key(capture["url"]), capture["fetch_time"]))
    lines = "".join(cdxj_line(capture) + "\n" for capture in ordered)
    path = out / "cc-index" / "collections" / crawl / "indexes" / "cdx-00000.gz"
    write_bytes(path, gzip.compress(lines.encode(), mtime=0))
    for subset, wanted in (("warc", True), ("crawldiagnostics", False)):
        rows = [_columnar_row(c) for c in ordered if c["indexed"] and (c["fetch_status"] == 200) == wanted]
        folder = out / "cc-index" / "table" / "cc-main" / "warc" / f"crawl={crawl}" / f"subset={subset}"
        write_rows(folder / "part-00000.parquet", rows, COLUMNS)


def cdxj_line(capture: Mapping[str, Any]) -> str:
    """One line of CDXJ: key, 14-digit time, JSON with string values as Common Crawl's index server gives them."""
    time = datetime.fromisoformat(capture["fetch_time"]).strftime("%Y%m%d%H%M%S")
    values = {key: str(capture[column]) for key, column in CDXJ_FIELDS.items() if capture.get(column) is not None}
    return f"{surt_key(capture['url'])} {time} {json.dumps(values)}"


def _columnar_row(capture: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: capture[key] for key in capture if key in COLUMNS.names}
    values["fetch_time"] = datetime.fromisoformat(capture["fetch_time"])
    values["warc_record_id"] = uuid.UUID(capture["warc_record_id"]).bytes
    return {**url_columns(capture["url"]), **values}
