"""SURT keys against keys of the Internet Archive's own implementation (surt 0.3.1)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.errors import InputError
from ops.warc.surt import surt_host, surt_key, surt_range

KEYS = {
    "http://www.Example.com/Foo/?b=2&a=1": "com,example)/foo?a=1&b=2",
    "https://example.com:443/a/": "com,example)/a",
    "http://example.com:443/a/": "com,example:443)/a",
    "http://example.com": "com,example)/",
    "http://example.com/?": "com,example)/",
    "http://example.com/a?x=%7Ey&PHPSESSID=0123456789abcdef0123456789abcdef": "com,example)/a?&x=~y",
    "http://ex.com/a//b/../c;jsessionid=0123456789abcdef0123456789abcdef?q": (
        "com,ex)/a/c;jsessionid=0123456789abcdef0123456789abcdef?q"
    ),
    "http://m\u00fcller.de/\u00e4 b": "de,xn--mller-kva)/%c3%a4%20b",
    "http://e.org:8080/x#f": "org,e:8080)/x",
    "http://1.2.3.4/a": "4,3,2,1)/a",
    "https://www2.x.co.uk/A%20b+c": "uk,co,x)/a%20b+c",
    "example.com/no/scheme": "com,example)/no/scheme",
    "http://user:secret@example.com/": "com,example)/",
    "http://example.com/%2541%41": "com,example)/aa",
    "http://example.com/a?b=&a": "com,example)/a?a&b=",
    "http://example.com./a": "com,example)/a",
}


@pytest.mark.parametrize(("url", "key"), KEYS.items())
def test_keys(url, key):
    assert surt_key(url) == key


LABEL = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter(lambda label: not label.startswith("www"))
HOST = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
PATH = st.lists(st.from_regex(r"[a-z0-9_.~-]{1,6}", fullmatch=True).filter(lambda s: s not in (".", "..")), max_size=4)


@settings(max_examples=50)
@given(host=HOST, path=PATH, scheme=st.sampled_from(["http", "https"]), www=st.sampled_from(["", "www.", "WWW3."]))
def test_variants_of_an_address_have_one_key(host, path, scheme, www):
    plain = surt_key(f"http://{host}/{'/'.join(path)}")
    port = {"http": 80, "https": 443}[scheme]
    assert surt_key(f"{scheme.upper()}://{www}{host.upper()}:{port}/{'/'.join(path).upper()}/#top") == plain


@settings(max_examples=50)
@given(host=HOST, domain=HOST, port=st.sampled_from(["", ":8080"]), sub=st.booleans())
def test_the_range_of_a_domain_holds_its_pages_and_no_others(host, domain, port, sub):
    host = f"{host}.{domain}" if sub else host
    key = surt_key(f"http://{host}{port}/page")
    held = any(low <= key < high for low, high in surt_range(domain))
    # a subdomain's other port is the one thing left out: its key does not begin with the domain's
    assert held == (host == domain or host.endswith("." + domain))


@pytest.mark.parametrize("url", ["", "http://", "ftp://example.com/", "mailto:someone", "http:///path", "https://a b/"])
def test_what_is_no_address(url):
    with pytest.raises(InputError):
        surt_key(url)


@pytest.mark.parametrize("host", ["", ".", "a b", "\u00e9" * 70 + ".com"])
def test_what_is_no_host(host):
    with pytest.raises(InputError):
        surt_host(host)
