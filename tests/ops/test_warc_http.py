"""HTTP in WARC records: headers, chunked bodies, content codings, and crawlers that lie about them."""

import gzip
import http.client
import io
import zlib

import pytest
from fastwarc.stream_io import BrotliWriter, ZstdWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.warc.http import (
    BadCoding,
    BadHttp,
    TooLarge,
    parse_response,
    remove_content_codings,
    remove_transfer_coding,
)
from ops.warc.record import Headers, parse_fields
from tests.ops.crawl_warcs import HTML, http_block

LIMIT = 1 << 24


class FakeSocket(io.BytesIO):
    def makefile(self, *args, **kwargs):
        return self


def by_http_client(block: bytes) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(FakeSocket(block))  # pyright: ignore[reportArgumentType]
    response.begin()
    return response.status, response.read()


def chunked(body: bytes, sizes: list[int], *, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    data, position = b"", 0
    for size in sizes:
        piece = body[position : position + size]
        position += len(piece)
        if piece:
            data += b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
    rest = body[position:]
    if rest:
        data += b"%X\r\n%s\r\n" % (len(rest), rest)
    return data + b"0\r\n" + trailer + b"\r\n"


@settings(max_examples=20)
@given(
    body=st.binary(max_size=2000),
    sizes=st.lists(st.integers(1, 500), max_size=6),
    extension=st.sampled_from([b"", b";a=1", b" "]),
    trailer=st.sampled_from([b"", b"X-Checksum: 1\r\n"]),
)
def test_chunked_bodies_as_the_standard_library_reads_them(body, sizes, extension, trailer):
    stored = chunked(body, sizes, extension=extension, trailer=trailer)
    block = http_block(stored, headers=(("Transfer-Encoding", "chunked"),))
    response = parse_response(block)
    decoded = remove_transfer_coding(response)
    assert (response.status, decoded.body) == by_http_client(block) == (200, body)
    assert decoded.complete
    assert not decoded.stale


@pytest.mark.parametrize("cut", [3, 12, 40])
def test_a_chunked_body_that_ends_early_is_incomplete(cut):
    stored = chunked(b"<html>" + b"x" * 60, [10, 30])
    response = parse_response(http_block(stored[:-cut], headers=(("Transfer-Encoding", "chunked"),)))
    decoded = remove_transfer_coding(response)
    assert not decoded.complete
    assert (b"<html>" + b"x" * 60).startswith(decoded.body)


def test_a_broken_chunk_in_the_middle_is_an_error():
    response = parse_response(http_block(b"5\r\nhelloXX\r\n", headers=(("Transfer-Encoding", "chunked"),)))
    with pytest.raises(BadHttp, match="chunk size at byte 8"):
        remove_transfer_coding(response)


def test_a_body_that_is_not_chunked_is_taken_as_it_is():
    response = parse_response(http_block(HTML, headers=(("Transfer-Encoding", "chunked"),)))
    decoded = remove_transfer_coding(response)
    assert (decoded.body, decoded.stale) == (HTML, True)


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def written_by(writer_class, data: bytes) -> bytes:
    stream = io.BytesIO()
    writer = writer_class(stream)
    writer.write(data)
    writer.close()
    return stream.getvalue()


CODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": lambda data: written_by(BrotliWriter, data),
    "zstd": lambda data: written_by(ZstdWriter, data),
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
    "deflate, gzip": lambda data: gzip.compress(zlib.compress(data)),
    "identity": lambda data: data,
}


@pytest.mark.parametrize("coding", CODERS)
@settings(max_examples=20)
@given(text=st.binary(min_size=1, max_size=3000))
def test_content_codings(coding, text):
    body = b"<html>" + text
    decoded = remove_content_codings(Headers([("content-encoding", coding)]), CODERS[coding](body), max_bytes=LIMIT)
    assert (decoded.body, decoded.complete, decoded.stale) == (body, True, False)


def test_several_gzip_streams_are_one_body():
    body = gzip.compress(b"<html>") + gzip.compress(b"two") + b"\0" * 10
    assert remove_content_codings(Headers([("Content-Encoding", "gzip")]), body, max_bytes=LIMIT).body == b"<html>two"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "compress", "made-up"])
def test_markup_under_a_coding_it_does_not_have_is_kept_and_told(coding):
    body = b"\xef\xbb\xbf \n" + HTML
    decoded = remove_content_codings(Headers([("Content-Encoding", coding)]), body, max_bytes=LIMIT)
    assert (decoded.body, decoded.stale) == (body, True)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "compress"])
def test_what_is_neither_in_its_coding_nor_markup_is_an_error(coding):
    with pytest.raises(BadCoding):
        remove_content_codings(Headers([("Content-Encoding", coding)]), b"\x01\xff\xfe\x02 neither", max_bytes=LIMIT)


def test_a_compressed_body_that_ends_early_gives_what_there_is():
    body = b"<html>" + bytes(range(256)) * 200
    decoded = remove_content_codings(
        Headers([("Content-Encoding", "gzip")]), gzip.compress(body)[:-20], max_bytes=LIMIT
    )
    assert not decoded.complete
    assert body.startswith(decoded.body)
    assert decoded.body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "Deflate", "br", "zstd"])
def test_a_bomb_stops_at_the_limit(coding):
    bomb = CODERS[coding](bytes(20_000_000))
    with pytest.raises(TooLarge):
        remove_content_codings(Headers([("Content-Encoding", coding)]), bomb, max_bytes=100_000)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "Deflate", "br", "zstd"])
@pytest.mark.parametrize("excess", [0, 1])
def test_the_limit_is_exact(coding, excess):
    body = CODERS[coding](b"<" + b"x" * (999 + excess))
    headers = Headers([("Content-Encoding", coding)])
    if excess:
        with pytest.raises(TooLarge):
            remove_content_codings(headers, body, max_bytes=1000)
    else:
        assert len(remove_content_codings(headers, body, max_bytes=1000).body) == 1000


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_header_fields(line_end):
    lines = [
        b"HTTP/1.1 200 OK",
        b'content-TYPE: Text/HTML; charset="Shift_JIS"; x=y',
        b"A: 1",
        b" 2",
        b"no colon",
        b"a: 3",
    ]
    response = parse_response(line_end.join(lines) + line_end * 2 + b"body\r\n\r\nmore")
    assert (response.status, response.mime_type, response.charset) == (200, "text/html", "Shift_JIS")
    assert response.headers.get("a") == "1 2"
    assert response.headers.all("A") == ["1 2", "3"]
    assert response.body == b"body\r\n\r\nmore"


def test_a_header_without_fields_and_without_reason():
    response = parse_response(b"HTTP/1.0 200\r\n\r\n<html>")
    assert (response.status, response.mime_type, response.charset, response.body) == (200, None, None, b"<html>")


@pytest.mark.parametrize(
    "block", [b"", b"<html>no header", b"HTTP/1.1 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n", b"ICY 200 OK\r\n\r\n"]
)
def test_no_http(block):
    with pytest.raises(BadHttp):
        parse_response(block)


def test_bytes_that_are_not_utf8_stay_visible():
    assert parse_fields(b"WARC-Target-URI: http://e.org/\xe9").get("warc-target-uri") == "http://e.org/\\xe9"
