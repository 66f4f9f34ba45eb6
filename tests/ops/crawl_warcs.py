"""WARC files for the crawl tests, good ones by warcio and broken ones by hand."""

import base64
import gzip
import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

HTML = b"<!doctype html><html><body><p>Let \\(x^2 = y\\).</p></body></html>"


def sha1(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def http_block(
    body: bytes = HTML,
    *,
    status: str = "200 OK",
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/html"),),
) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def raw_record(
    url: str | None,
    block: bytes,
    *,
    content_length: str | None = None,
    record_type: str | None = "response",
    extra: tuple[tuple[str, str], ...] = (),
    content_type: str = "application/http; msgtype=response",
    end: bytes = b"\r\n\r\n",
) -> bytes:
    """A record, not compressed; `content_length` may lie."""
    fields = [("WARC-Date", "2024-05-18T01:58:10Z"), ("Content-Type", content_type), *extra]
    if record_type is not None:
        fields.insert(0, ("WARC-Type", record_type))
    if url is not None:
        fields.append(("WARC-Target-URI", url))
    if content_length != "":
        fields.append(("Content-Length", content_length or str(len(block))))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return b"WARC/1.0\r\n" + head.encode() + b"\r\n" + block + end


def page(number: int, body: bytes | None = None, **options) -> bytes:
    """A good response record, whose URL and body tell its number."""
    return raw_record(f"https://site.example/{number}", http_block(body or HTML + b"%d" % number), **options)


def members(*records: bytes) -> bytes:
    """Gzip, a member per record."""
    return b"".join(gzip.compress(record, mtime=0) for record in records)


def write_warc(path: Path, pages: dict[str, bytes], *, compress: bool = True) -> None:
    """warcinfo, and a request, response and metadata record per page, by warcio."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        writer = WARCWriter(stream, gzip=compress)
        writer.write_record(writer.create_warcinfo_record(path.name, {"software": "test"}))
        for url, body in pages.items():
            request = StatusAndHeaders("GET / HTTP/1.1", [("Host", "site.example")], is_http_request=True)
            writer.write_record(writer.create_warc_record(url, "request", http_headers=request))
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=UTF-8")], protocol="HTTP/1.1")
            dates = {"WARC-Date": "2024-05-18T01:58:10Z"}
            writer.write_record(
                writer.create_warc_record(
                    url, "response", payload=io.BytesIO(body), http_headers=headers, warc_headers_dict=dates
                )
            )
            fields = io.BytesIO(b"fetchTimeMs: 1\r\n")
            writer.write_record(writer.create_warc_record(url, "metadata", payload=fields))


def write_common_crawl(root: Path, crawl: str, captures: list[dict], *, files: int = 2, index_files: int = 2) -> None:
    """A small copy of Common Crawl's layout: WARC files, columnar index, list of the index files.

    A capture: `url`, `surt`, `domain`, and optionally `body`, `status`, `mime`. Places come from warcio's own reading.
    """
    names = [f"crawl-data/{crawl}/segments/1/warc/{crawl}-{n:05d}.warc.gz" for n in range(files)]
    for number, name in enumerate(names):
        write_warc(root / name, {c["url"]: c.get("body", HTML) for c in captures[number::files]})
    places = {}
    for name in names:
        with (root / name).open("rb") as stream:
            iterator = ArchiveIterator(stream)
            for record in iterator:
                record.content_stream().read()
                if record.rec_type == "response":
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    places[url] = (name, iterator.get_record_offset(), iterator.get_record_length())
    rows = [
        {
            "url_surtkey": capture["surt"],
            "url": capture["url"],
            "url_host_registered_domain": capture["domain"],
            "fetch_status": capture.get("status", 200),
            "content_mime_type": capture.get("mime", "text/html"),
            "content_languages": "eng",
            "warc_filename": places[capture["url"]][0],
            "warc_record_offset": places[capture["url"]][1],
            "warc_record_length": places[capture["url"]][2],
        }
        for capture in sorted(captures, key=lambda capture: capture["surt"])
    ]
    types = {"fetch_status": pa.int16(), "warc_record_offset": pa.int32(), "warc_record_length": pa.int32()}
    schema = pa.schema([(column, types.get(column, pa.string())) for column in rows[0]])
    folder = f"cc-index/table/cc-main/warc/crawl={crawl}/subset=warc"
    (root / folder).mkdir(parents=True)
    size = -(-len(rows) // index_files)
    for number in range(index_files):
        table = pa.Table.from_pylist(rows[number * size : (number + 1) * size], schema=schema)
        pq.write_table(table, root / folder / f"part-{number:05d}.parquet", row_group_size=1000)
    paths = [f"{folder}/part-{number:05d}.parquet" for number in range(index_files)]
    listed = "\n".join([*paths, f"{folder.replace('subset=warc', 'subset=robotstxt')}/part-00000.parquet", ""])
    (root / "crawl-data" / crawl / "cc-index-table.paths.gz").write_bytes(gzip.compress(listed.encode()))
