"""What a page says of itself, whatever its language: language, canonical address, author, date."""

import json
import re
from collections.abc import Iterator
from typing import Any

from selectolax.lexbor import LexborHTMLParser

_META = {
    "author": "author",
    "citation_author": "author",
    "dc.creator": "author",
    "dcterms.creator": "author",
    "parsely-author": "author",
    "article:published_time": "date",
    "citation_publication_date": "date",
    "citation_date": "date",
    "datepublished": "date",
    "date": "date",
    "dc.date": "date",
    "dcterms.date": "date",
    "dcterms.created": "date",
    "parsely-pub-date": "date",
    "og:url": "canonical_url",
    "og:locale": "language",
    "content-language": "language",
}
_DATE = re.compile(r"\d{4}(?:[-/]\d{1,2}(?:[-/]\d{1,2})?)?|\d{1,2}[./]\d{1,2}[./]\d{4}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*\Z")
LARGEST_JSON = 200_000
MOST_GRAPH = 1_000


def read_metadata(document: LexborHTMLParser) -> dict[str, str]:
    """`language`, `canonical_url`, `author`, `date`: those that the page states, as it states them."""
    found: dict[str, str] = {}
    html = document.root
    while html is not None and html.tag != "html":
        html = html.first_child or html.next
    if html is not None:
        attrs = html.attributes
        _put(found, "language", attrs.get("lang") or attrs.get("xml:lang"))
    head = document.head
    linked: list[str] = []
    for node in head.iter() if head is not None else ():
        attrs = node.attributes
        if node.tag == "meta":
            name = (attrs.get("name") or attrs.get("property") or attrs.get("http-equiv") or "").lower()
            key = _META.get(name)
            if key is not None:
                _put(found, key, attrs.get("content"))
        elif node.tag == "link" and (attrs.get("rel") or "").lower() == "canonical":
            _put(found, "canonical_url", attrs.get("href"), replace=True)
        elif node.tag == "script" and attrs.get("type") == "application/ld+json":
            linked.append(node.text(deep=True) or "")
    if linked and not ("author" in found and "date" in found):
        for item in _items(linked):
            _put(found, "author", _name(item.get("author")))
            _put(found, "date", item.get("datePublished"))
            _put(found, "language", item.get("inLanguage"))
    return dict(sorted(found.items()))


def _put(found: dict[str, str], key: str, value: object, *, replace: bool = False) -> None:
    if not isinstance(value, str) or (key in found and not replace):
        return
    text = " ".join(value.split())[:500]
    if key == "date":
        match = _DATE.search(text)
        text = text if match else ""
    elif key == "language":
        text = text.replace("_", "-") if _LANGUAGE.match(text) else ""
    elif key == "author" and text.startswith(("http://", "https://")):
        text = ""
    if text:
        found[key] = text


def _items(sources: list[str]) -> Iterator[dict[str, Any]]:
    """The objects of JSON-LD that have an author or a date; broken JSON, which many pages have, says nothing."""
    for source in sources:
        if len(source) > LARGEST_JSON:
            continue
        try:
            pending: list[object] = [json.loads(source)]
        except (ValueError, RecursionError):
            continue
        seen = 0
        while pending and seen < MOST_GRAPH:
            item = pending.pop(0)
            seen += 1
            if isinstance(item, list):
                pending += item
            elif isinstance(item, dict):
                if "author" in item or "datePublished" in item:
                    yield item
                pending += [item[key] for key in ("@graph", "mainEntity") if key in item]


def _name(author: object) -> str | None:
    if isinstance(author, list):
        return ", ".join(name for name in map(_name, author) if name) or None
    if isinstance(author, dict):
        author = author.get("name")
        return _name(author) if isinstance(author, list) else author if isinstance(author, str) else None
    return author if isinstance(author, str) else None
