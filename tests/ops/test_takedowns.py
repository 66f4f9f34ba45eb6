"""Takedowns: which addresses are meant, and the list in the store."""

from pathlib import Path
from typing import Any

import pytest

from ops.crawl_pages.config import CrawlPagesConfig, Takedown
from ops.errors import InputError
from ops.store import Store
from ops.takedowns import read_takedowns


@pytest.mark.parametrize(
    ("takedown", "url", "meant"),
    [
        (Takedown(url="https://a.org/x"), "http://www.a.org/x/", True),
        (Takedown(url="https://a.org/x?b=2&a=1"), "https://a.org/x?a=1&b=2#part", True),
        (Takedown(url="https://a.org/x"), "https://a.org/xy", False),
        (Takedown(url="https://a.org/x"), "https://b.a.org/x", False),
        (Takedown(domain="a.org"), "https://a.org:8080/any", True),
        (Takedown(domain="a.org"), "https://deep.down.A.org/any?x=1", True),
        (Takedown(domain="www.a.org"), "https://a.org/", True),
        (Takedown(domain="a.org"), "https://aa.org/", False),
        (Takedown(domain="a.org"), "https://org/", False),
        (Takedown(domain="a.org"), "https://a.org.evil.com/", False),
        (Takedown(domain="a.org"), "not an address", False),
    ],
)
def test_which_pages_are_meant(takedown: Takedown, url: str, meant: bool) -> None:
    assert takedown.matches(url) is meant


def test_a_partition_that_held_none_keeps_its_identity() -> None:
    takedown = Takedown(domain="a.org", clean=("C|00", "C|02"))
    config = CrawlPagesConfig(bucket=0, takedowns=(takedown,))
    assert config.at("C", "00") == CrawlPagesConfig(bucket=0)
    assert config.at("C", "01") == CrawlPagesConfig(bucket=1, takedowns=(Takedown(domain="a.org"),))
    assert config.at("D", "00") == CrawlPagesConfig(bucket=0, takedowns=(Takedown(domain="a.org"),))


def test_what_cannot_be_meant_is_refused() -> None:
    wrongs: list[dict[str, Any]] = [
        {},
        {"url": "https://a.org", "domain": "a.org"},
        {"url": "ftp://a.org/"},
        {"domain": "a b/c"},
    ]
    for wrong in wrongs:
        with pytest.raises(InputError):
            Takedown(**wrong)


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert read_takedowns(store) == ()
    for text in ("{", "{}", '[{"class": "Takedown", "adress": "x"}]'):
        (tmp_path / "takedowns.json").write_text(text)
        with pytest.raises(InputError, match=r"takedowns\.json"):
            read_takedowns(store)
