"""Payload digests in the forms that crawlers write."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.utils import Digester

from ops.warc.digests import digest_matches, parse_digest


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("form", ["base32", "base32 without padding", "base32 lower", "hex", "hex upper", "warcio"])
@settings(max_examples=10)
@given(payload=st.binary(max_size=200))
def test_matches_what_others_write(algorithm, form, payload):
    raw = hashlib.new(algorithm, payload).digest()
    base32 = base64.b32encode(raw).decode()
    digester = Digester(algorithm)
    digester.update(payload)
    value = {
        "base32": f"{algorithm}:{base32}",
        "base32 without padding": f"{algorithm}:{base32.rstrip('=')}",
        "base32 lower": f"{algorithm.upper()}:{base32.lower()}",
        "hex": f"{algorithm}:{raw.hex()}",
        "hex upper": f" {algorithm}: {raw.hex().upper()} ",
        "warcio": str(digester),
    }[form]
    assert parse_digest(value) == (algorithm, raw)
    assert digest_matches(value, payload) is True
    assert digest_matches(value, b"other" + payload, payload) is True
    assert digest_matches(value, b"other" + payload) is False


def test_common_crawls_dash():
    assert digest_matches("sha-1:" + hashlib.sha1(b"x").hexdigest(), b"x") is True


@pytest.mark.parametrize(
    "value", ["", "sha1", "sha1:", "sha1:short", "crc32:abcdef01", "sha1:" + "z" * 40, "sha1:" + "1" * 32]
)
def test_unreadable_digests_are_told_apart_from_wrong_ones(value):
    assert digest_matches(value, b"payload") is None
