"""What belongs to a crawl by its columnar index: addresses and domains, wherever it lies; what stops a lookup."""

import hashlib
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.crawl_manifest.columnar import key_predicate
from ops.crawl_manifest.config import CommonCrawl, CrawlManifestConfig
from ops.crawl_manifest.rows import bucket_of, read_manifest
from ops.crawl_manifest.run import run
from ops.errors import InputError
from ops.stage import Execution
from tests.ops import crawl_servers
from tests.ops.crawl_servers import FORBIDDEN, SLOW_DOWN, BusyProxy, RangeServer, put_s3_folder, serving
from tests.ops.crawl_stages import CRAWL, manifest_config, manifest_rows
from tests.ops.crawl_warcs import write_common_crawl

moto_server, s3_endpoint = crawl_servers.moto_server, crawl_servers.s3_endpoint


CAPTURES = [
    {"url": "https://www.maths.example/Limits/", "surt": "example,maths)/limits", "domain": "maths.example"},
    {"url": "http://maths.example/series?b=2&a=1", "surt": "example,maths)/series?a=1&b=2", "domain": "maths.example"},
    {"url": "https://docs.maths.example/", "surt": "example,maths,docs)/", "domain": "maths.example"},
    {"url": "https://mathsy.example/", "surt": "example,mathsy)/", "domain": "mathsy.example"},
    {"url": "https://other.example/a", "surt": "example,other)/a", "domain": "other.example"},
    {
        "url": "https://other.example/b.pdf",
        "surt": "example,other)/b.pdf",
        "domain": "other.example",
        "mime": "application/pdf",
    },
    {"url": "https://other.example/c", "surt": "example,other)/c", "domain": "other.example", "status": 404},
    {"url": "https://other.example/d", "surt": "example,other)/d", "domain": "other.example", "mime": None},
    {
        "url": "https://other.example/e",
        "surt": "example,other)/e",
        "domain": "other.example",
        "mime": "Text/HTML; charset=x",
    },
]


def urls(out: Path) -> set[str]:
    return {row["url"] for row in manifest_rows(out)}


def missing(out: Path) -> set[tuple[str, str]]:
    return {(row["wanted"], row["reason"]) for row in pq.read_table(out / "missing.parquet").to_pylist()}


@pytest.fixture(params=["local", "s3", "http"])
def common_crawl(request, tmp_path):
    root = tmp_path / "cc"
    write_common_crawl(root, CRAWL, CAPTURES)
    if request.param == "local":
        yield Execution(source=str(root))
    elif request.param == "http":
        with serving(RangeServer(root).handler()) as address:
            yield Execution(source=address)
    else:
        endpoint = request.getfixturevalue("s3_endpoint")
        yield Execution(source=put_s3_folder(endpoint, root), endpoint_url=endpoint)


def test_addresses_are_found_in_their_variants_and_the_rest_is_listed(common_crawl, tmp_path):
    wanted = {
        "http://maths.example/limits": "https://www.maths.example/Limits/",
        "https://www.maths.example/series/?a=1&b=2#x": "http://maths.example/series?b=2&a=1",
        "https://maths.example:443/series?a=1&b=2": "http://maths.example/series?b=2&a=1",
        "http://other.example/a/": "https://other.example/a",
        "https://other.example/b.pdf": None,
        "https://other.example/c": None,
        "https://other.example/d": "https://other.example/d",
        "https://other.example/e": "https://other.example/e",
        "https://nowhere.example/": None,
    }
    result = run(manifest_config(CommonCrawl(urls=tuple(wanted))), {}, tmp_path / "out", common_crawl)
    assert urls(tmp_path / "out") == {url for url in wanted.values() if url}
    assert missing(tmp_path / "out") == {
        ("https://other.example/b.pdf", "mime_type"),
        ("https://other.example/c", "http_status"),
        ("https://nowhere.example/", "not_in_index"),
    }
    assert result.dropped == {"http_status": 1, "mime_type": 1}
    assert (result.counts["in"], result.counts["out"]) == (7, 5)
    assert (result.counts["urls_wanted"], result.counts["urls_missing"]) == (9, 3)
    assert {check.name: check.passed for check in result.checks} == {
        "not_empty": True,
        "nothing_vanishes": True,
        "everything_found": False,
    }
    assert not (tmp_path / "out" / "lookup").exists()


def test_domains_with_their_subdomains(common_crawl, tmp_path):
    selection = CommonCrawl(domains=("maths.example", "absent.example", "docs.maths.example"))
    run(manifest_config(selection), {}, tmp_path / "out", common_crawl)
    assert urls(tmp_path / "out") == {c["url"] for c in CAPTURES if c["domain"] == "maths.example"}
    assert missing(tmp_path / "out") == {("absent.example", "not_in_index")}
    assert pq.read_table(tmp_path / "out" / "domains.parquet").to_pylist() == [
        {"url_host_registered_domain": "maths.example", "rows": 3}
    ]


def test_rows_lead_to_their_records_in_their_bucket_and_part(tmp_path):
    captures = [
        {"url": f"https://s{n}.example/", "surt": f"example,s{n})/", "domain": f"s{n}.example"} for n in range(50)
    ]
    write_common_crawl(tmp_path / "cc", CRAWL, captures)
    selection = CommonCrawl(domains=("example",), rows_per_part=7)
    run(manifest_config(selection, num_buckets=3), {}, tmp_path / "out", Execution(source=str(tmp_path / "cc")))
    rows = manifest_rows(tmp_path / "out")
    assert len(rows) == 50
    for row in rows:
        assert row["bucket"] == bucket_of(f"example,{row['url'][8:-9]})/", 3)
        data = (tmp_path / "cc" / row["warc_filename"]).read_bytes()
        record = data[row["warc_record_offset"] :][: row["warc_record_length"]]
        assert record.startswith(b"\x1f\x8b")
        assert row["bytes"] == row["warc_record_length"]
    for bucket in range(3):
        of_bucket = read_manifest(tmp_path / "out", bucket)[1]
        assert [row["part"] for row in of_bucket] == [n // 7 for n in range(len(of_bucket))]
        places = [(row["warc_filename"], row["warc_record_offset"]) for row in of_bucket]
        assert places == sorted(places)


def test_a_selection_that_finds_nothing_is_rejected_but_whole(tmp_path):
    write_common_crawl(tmp_path / "cc", CRAWL, CAPTURES)
    source = CommonCrawl(urls=("https://nowhere.example/",))
    result = run(manifest_config(source), {}, tmp_path / "out", Execution(source=str(tmp_path / "cc")))
    assert [check.name for check in result.checks if check.blocking and not check.passed] == ["not_empty"]
    assert manifest_rows(tmp_path / "out") == []
    assert read_manifest(tmp_path / "out", 3)[1] == []


def test_a_long_list_comes_as_a_file_that_the_config_names_by_its_digest(tmp_path):
    write_common_crawl(tmp_path / "cc", CRAWL, CAPTURES)
    (tmp_path / "list").mkdir()
    data = b"# seeds\nhttps://other.example/a\n\nnot an address\n"
    (tmp_path / "list" / "urls.txt").write_bytes(data)
    execution = Execution(source=str(tmp_path / "cc"))
    inputs = {"url_list": [tmp_path / "list"]}
    source = CommonCrawl(url_list_sha256=hashlib.sha256(data).hexdigest())
    run(manifest_config(source), inputs, tmp_path / "out", execution)
    assert urls(tmp_path / "out") == {"https://other.example/a"}
    assert missing(tmp_path / "out") == {("not an address", "not_an_address")}
    with pytest.raises(InputError, match="SHA-256"):
        run(manifest_config(CommonCrawl(url_list_sha256="0" * 64)), inputs, tmp_path / "out2", execution)


def test_the_index_is_not_read_whole(tmp_path):
    keys = [f"example,site{n // 100:04d})/{n:06d}" for n in range(60_000)]
    root = tmp_path / "cc"
    write_common_crawl(root, CRAWL, CAPTURES[:1], index_files=1)
    path = next(root.rglob("part-00000.parquet"))
    one = pl.read_parquet(path)
    urls_of_any_size = [f"https://e.example/{hashlib.sha256(key.encode()).hexdigest()}" for key in keys]
    pl.DataFrame({"url_surtkey": keys, "url": urls_of_any_size}).join(
        one.drop("url_surtkey", "url"), how="cross"
    ).with_columns(warc_record_offset=pl.int_range(pl.len())).write_parquet(path, row_group_size=2000)
    size = path.stat().st_size
    server = RangeServer(root)
    source = CommonCrawl(domains=("site0123.example",))
    with serving(server.handler()) as address:
        run(manifest_config(source), {}, tmp_path / "out", Execution(source=address))
    assert len(manifest_rows(tmp_path / "out")) == 100
    sent = sum(number for name, number in server.sent.items() if name.endswith(".parquet"))
    assert 0 < sent < size / 4


@settings(max_examples=50)
@given(data=st.data())
def test_the_predicate_is_membership(data):
    alphabet = [
        f"com,{host}{rest}" for host in ("a", "ab", "a-b") for rest in (")/", ")/x", ",www)/", ":8080)/", ",c)/y")
    ]
    keys = data.draw(st.lists(st.sampled_from(alphabet), unique=True, min_size=1))
    domains = data.draw(st.lists(st.sampled_from(["a.com", "ab.com", "c.a.com"]), unique=True))
    found = pl.DataFrame({"url_surtkey": alphabet}).filter(key_predicate(keys, domains))["url_surtkey"].to_list()
    prefixes = tuple(",".join(reversed(domain.split("."))) + mark for domain in domains for mark in (")", ",", ":"))
    assert found == [key for key in alphabet if key in keys or key.startswith(prefixes)]


def test_a_busy_index_server_is_asked_again(s3_endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    write_common_crawl(tmp_path / "cc", CRAWL, CAPTURES)
    root = put_s3_folder(s3_endpoint, tmp_path / "cc")
    proxy = BusyProxy(s3_endpoint, lambda method, path: [SLOW_DOWN, FORBIDDEN])
    with serving(proxy.handler()) as address:
        execution = Execution(source=root, endpoint_url=address)
        run(manifest_config(CommonCrawl(domains=("maths.example",))), {}, tmp_path / "out", execution)
    assert proxy.refused > 0
    assert len(manifest_rows(tmp_path / "out")) == 3


def test_a_lookup_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    import ops.crawl_manifest.columnar as columnar

    write_common_crawl(tmp_path / "cc", CRAWL, CAPTURES, index_files=4)
    execution = Execution(source=str(tmp_path / "cc"))
    source = CommonCrawl(domains=("example",))
    run(manifest_config(source), {}, tmp_path / "whole", execution)
    scan, scanned = columnar.scan, []

    def killed_at_the_third(source, name, predicate):
        scanned.append(name)
        if len(scanned) == 3:
            raise KeyboardInterrupt
        return scan(source, name, predicate)

    monkeypatch.setattr(columnar, "scan", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(manifest_config(source), {}, tmp_path / "resumed", execution)
    run(manifest_config(source), {}, tmp_path / "resumed", execution)
    assert len(scanned) == 5  # two done, one killed, that one again, the last
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "resumed").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes()


def test_an_unknown_crawl_and_a_damaged_index_are_named(tmp_path):
    write_common_crawl(tmp_path / "cc", CRAWL, CAPTURES, index_files=1)
    execution = Execution(source=str(tmp_path / "cc"))
    source = CommonCrawl(domains=("example",))
    with pytest.raises(InputError, match="CC-MAIN-1999-01"):
        run(CrawlManifestConfig(crawl="CC-MAIN-1999-01", source=source), {}, tmp_path / "out", execution)
    path = next((tmp_path / "cc").rglob("part-00000.parquet"))
    pl.read_parquet(path).drop("warc_record_offset").write_parquet(path)
    with pytest.raises(InputError, match=r"part-00000.*warc_record_offset"):
        run(manifest_config(source), {}, tmp_path / "out", execution)
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(InputError, match="part-00000"):
        run(manifest_config(source), {}, tmp_path / "out", execution)
