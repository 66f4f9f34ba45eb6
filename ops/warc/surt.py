"""SURT keys: sort-friendly forms of URLs, equal for addresses that a crawl takes for the same page.

`https://www.Example.com:443/Path/?b=2&a=1#top` is `com,example)/path?a=1&b=2`. The rules are those by which Common
Crawl's columnar index fills `url_surtkey` (the Internet Archive's WaybackURLKeyMaker): scheme, user, fragment, `www`
and the default port go, the host is reversed, path and query are unescaped as far as they can be, escaped again once
and put in lower case, the query is sorted, and session ids and a trailing slash go. (The `surt` package does the same;
it is AGPL-licensed and brings tldextract and requests along.)
"""

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ops.errors import InputError

ADDRESS = re.compile(
    r"^(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?:[^/?#@]*@)?"
    r"(?P<host>\[[^\]/?#]*\]|[^:/?#]*)(?::(?P<port>\d*))?"
    r"(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?(?:#.*)?$",
    re.DOTALL,
)
DEFAULT_PORT = {"http": "80", "https": "443"}
UNESCAPED = "!\"$&'()*+,-./:;<=>?@[\\]^_`{|}~"
WWW = re.compile(r"^www\d*\.")
PATH_SESSION = re.compile(r"^(.*/)\((?:[a-z0-9]{24}|(?:[a-z]\([0-9a-z]{24}\))+)\)/([^?]+\.aspx.*)$")
QUERY_SESSIONS = [
    re.compile(rf"^(.*)(?:{name})(?:&(.*))?$")
    for name in (
        "jsessionid=[0-9a-z]{32}",
        "phpsessid=[0-9a-z]{32}",
        "sid=[0-9a-z]{32}",
        "aspsessionid[a-z]{8}=[a-z]{24}",
        "cfid=[^&]+&cftoken=[^&]+",
    )
]


def surt_key(url: str) -> str:
    """The SURT key of an http or https address; a missing scheme is taken for http.

    Raises:
        InputError: when there is no host in it.
    """
    match = ADDRESS.match(re.sub(r"[\t\r\n]", "", url.strip()))
    scheme = (match["scheme"] or "http").lower() if match else ""
    if match is None or not match["host"] or scheme not in DEFAULT_PORT:
        raise InputError(f"{url!r} is not an http or https address with a host")
    port = (match["port"] or "").lstrip("0")
    port = "" if port == DEFAULT_PORT[scheme] else port
    key = f"{surt_host(match['host'])}{':' if port else ''}{port}){_path(match['path'] or '/')}"
    query = _query(match["query"] or "")
    return f"{key}?{query}" if query else key


def surt_host(host: str) -> str:
    """`docs.Example.com` as `com,example,docs`; a leading `www` goes.

    Raises:
        InputError: when it is no host name.
    """
    name = _unescape(host).decode("utf-8", errors="replace")
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise InputError(f"{host!r} is no host name: {error}") from error
    name = WWW.sub("", _escape(name.lower().encode()).replace("..", ".").strip("."))
    if not name or re.search(r"[%/?]", name):
        raise InputError(f"{host!r} is no host name")
    return ",".join(reversed(name.split(".")))


def surt_range(domain: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Two half-open ranges of keys that hold every page of a domain and of its subdomains (the second: other ports)."""
    key = surt_host(domain)
    return (f"{key})", f"{key}-"), (f"{key}:", f"{key};")  # ")" and "," sort below "-", ":" just below ";"


def _path(path: str) -> str:
    kept: list[str] = []
    for segment in _unescape(path).split(b"/")[1:]:
        if segment == b"..":
            kept[-1:] = [] if kept else [".."]
        elif segment != b".":
            kept.append(_escape(segment).lower())
    joined = "/" + "/".join([segment for segment in kept[:-1] if segment] + kept[-1:])
    session = PATH_SESSION.match(joined)
    if session:
        joined = session.group(1) + session.group(2)
    return joined[:-1] if len(joined) > 1 and joined.endswith("/") else joined


def _query(query: str) -> str:
    text = _escape(_unescape(query)).lower()
    for pattern in QUERY_SESSIONS:
        match = pattern.match(text)
        if match:
            text = match.group(1) + (match.group(2) or "")
    if len(text) <= 1:
        return text
    return "&".join("=".join(pair) for pair in sorted(tuple(part.split("=", 1)) for part in text.split("&")))


def _unescape(text: str) -> bytes:
    """Percent-escapes taken away until none is left."""
    data = text.encode()
    while (shorter := unquote_to_bytes(data)) != data:
        data = shorter
    return data


def _escape(data: bytes) -> str:
    """Bytes outside printable ASCII, blanks, `#` and `%` as percent-escapes."""
    return quote_from_bytes(data, safe=UNESCAPED)
