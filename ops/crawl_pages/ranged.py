"""One record read by its offset and length."""

import dataclasses
import io
from typing import Any

from ops.crawl_pages.pages import PageReader
from ops.errors import InputError
from ops.parts import Batch
from ops.warc.archive import read_archive
from ops.warc.record import Damage, WarcRecord
from ops.warc.surt import surt_key

Row = dict[str, Any]


def add_fetched(reader: PageReader, row: Row, data: bytes | None, batch: Batch) -> None:
    """Put the record that was fetched for a row of the manifest into `batch`: kept, or dropped for a reason.

    `data`: the bytes of the range, None when there is no such file.
    """
    where = reader.provenance(row["warc_record_offset"], row["warc_record_length"], row["url"])
    reason, detail, record = _single_record(reader, row, data)
    if record is None:
        batch.counts["records"] += 1
        batch.counts["stored_bytes"] += row["warc_record_length"]
        batch.drop(where, reason, detail)
        return
    reader.add(record, batch)


def _single_record(reader: PageReader, row: Row, data: bytes | None) -> tuple[str, str, WarcRecord | Damage | None]:
    offset, length = row["warc_record_offset"], row["warc_record_length"]
    if data is None:
        return "not_found", row["warc_filename"], None
    if len(data) != length:
        return "wrong_range", f"the file has {len(data)} of the {length} bytes at offset {offset}", None
    name = f"{row['warc_filename']} at offset {offset}"
    try:
        items = list(read_archive(io.BytesIO(data), name, max_block_bytes=reader.max_block_bytes))
    except InputError as error:
        return "wrong_range", str(error), None
    item = items[0]
    if len(items) > 1:
        return "wrong_range", f"the range holds more than one record: the first has {item.length} bytes", None
    if isinstance(item, WarcRecord) and item.type not in ("response", "revisit"):
        return "not_a_response", item.type or "no WARC-Type", None
    if item.url and _key(item.url) != _key(row["url"]):
        return "wrong_url", f"the record is of {item.url}", None
    return "", "", dataclasses.replace(item, offset=offset)


def _key(url: str) -> str:
    try:
        return surt_key(url)
    except InputError:
        return url
