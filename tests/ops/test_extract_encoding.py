"""Bytes of a page: their encoding, what is lost of them, and what is no page."""

import pytest

from ops.errors import InputError
from ops.extract import ExtractConfig, PageRejected, extract_page
from ops.extract.encoding import decode
from tests.ops.extracted import latex_of


@pytest.mark.parametrize(
    ("html", "content_type", "encoding", "expected"),
    [
        ("<p>naïve √</p>".encode(), None, "utf-8", "naïve √"),
        ("<p>naïve √</p>".encode(), "text/html; charset=iso-8859-1", "utf-8", "naïve √"),
        ("<p>naïve</p>".encode("latin-1"), "text/html; charset=ISO-8859-1", "cp1252", "naïve"),
        (b'<meta charset="windows-1251"><p>' + "привет".encode("cp1251") + b"</p>", None, "cp1251", "привет"),
        ('<?xml version="1.0" encoding="shift_jis"?><p>数学</p>'.encode("shift_jis"), None, "shift_jis", "数学"),
        (b"\xff\xfe" + "<p>π</p>".encode("utf-16-le"), None, "utf-16-le", "π"),
        (b"\xef\xbb\xbf" + "<p>π</p>".encode(), "text/html; charset=latin-1", "utf-8", "π"),
        ("<p>数学とは何か</p>".encode("iso2022_jp"), "text/html; charset=iso-2022-jp", "iso2022_jp", "数学とは何か"),
        (("<p>" + "Ελληνικά μαθηματικά " * 20 + "</p>").encode("iso8859-7"), "text/html", "iso8859-7", "Ελληνικά μαθ"),
        ("<p>é</p>", None, "str", "é"),
    ],
)  # fmt: skip
def test_encoding(html: bytes | str, content_type: str | None, encoding: str, expected: str) -> None:
    page = extract_page(html, content_type=content_type)
    assert page.text.startswith(expected)
    assert page.encoding == encoding
    assert page.num_replaced == 0


def test_broken_bytes_are_counted() -> None:
    page = extract_page(
        "<p>ab π cd".encode() + b"\xff\xfe\xff</p>" + "<p>ω</p>".encode() * 3, content_type="text/html; charset=utf-8"
    )
    assert page.encoding == "utf-8"
    assert page.num_replaced == 3
    assert page.text.startswith("ab π cd\ufffd\ufffd\ufffd")


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("utf-8", ""), ("utf-16", ""), ("shift_jis", "shift_jis"), ("gb18030", "gb2312"), ("cp1252", "iso-8859-1")],
)
def test_encodings(encoding: str, declared: str) -> None:
    word = {"shift_jis": "数学", "gb18030": "数学"}.get(encoding, "née")
    html = f"<meta charset='{declared}'><p>{word} \\(x\\)</p>".encode(encoding)
    decoded = decode(html)
    assert (word in decoded.text, decoded.num_replaced) == (True, 0)


def test_mixed_encodings_count_what_is_lost() -> None:
    html = b"<p>" + "é".encode() + "é".encode("latin-1") + b"\xff\xfe \\(x\\)</p>"
    page = extract_page(html)
    assert (page.text, page.num_replaced) == ("é\ufffd\ufffd\ufffd $x$", 3)
    assert latex_of(page) == ["x"]


@pytest.mark.parametrize(
    ("html", "content_type", "reason"),
    [
        (b"%PDF-1.4 <p>", None, "not_html"),
        (b"<p>x</p>", "application/pdf", "not_html"),
        (b"\x00\x01\x02 garbage", None, "not_html"),
        (b"just words", "text/html", "not_html"),
        (b"<p>" + b"x" * 2000, None, "too_large"),
        (b"<p>" + b"<b>y</b>" * 100, None, "too_many_nodes"),
    ],
)
def test_rejected(html: bytes, content_type: str | None, reason: str) -> None:
    with pytest.raises(PageRejected) as error:
        extract_page(html, content_type=content_type, config=ExtractConfig(max_bytes=1000, max_nodes=50))
    assert error.value.reason == reason


def test_config_is_checked() -> None:
    with pytest.raises(InputError, match="max_bytes"):
        ExtractConfig(max_bytes=0)
    with pytest.raises(InputError, match="max_depth"):
        ExtractConfig(max_depth=1000)
