"""What belongs to a crawl: files by bucket, and the columnar index joined with a selection."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.cli import stage_main
from ops.crawl_manifest.columnar import key_predicate
from ops.crawl_manifest.config import CommonCrawl, CrawlManifestConfig, SampleSource, WarcFiles
from ops.crawl_manifest.rows import bucket_of, read_manifest
from ops.crawl_manifest.run import observe, run
from ops.crawl_pages.config import CrawlPagesConfig
from ops.errors import InputError
from ops.identity import decode, encode
from ops.stage import Execution
from tests.ops import crawl_servers
from tests.ops.crawl_servers import FORBIDDEN, SLOW_DOWN, BusyProxy, RangeServer, put_s3, serving
from tests.ops.crawl_warcs import HTML, write_common_crawl, write_warc

moto_server, s3_endpoint = crawl_servers.moto_server, crawl_servers.s3_endpoint
CRAWL = "CC-MAIN-2024-22"
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


def manifest_rows(out: Path) -> list[dict]:
    return pq.read_table(out / "manifest.parquet").to_pylist()


def urls(out: Path) -> set[str]:
    return {row["url"] for row in manifest_rows(out)}


def missing(out: Path) -> set[tuple[str, str]]:
    return {(row["wanted"], row["reason"]) for row in pq.read_table(out / "missing.parquet").to_pylist()}


def config(source, num_buckets: int = 4) -> CrawlManifestConfig:
    return CrawlManifestConfig(crawl=CRAWL, source=source, num_buckets=num_buckets)


def test_a_folder_of_warc_files(tmp_path):
    folder = tmp_path / "in"
    names = [f"deep/{n}/file-{n}.warc{'.gz' if n % 2 else ''}" for n in range(9)]
    for n, name in enumerate(names):
        write_warc(folder / name, {f"https://site.example/{n}": HTML}, compress=n % 2 == 1)
    (folder / "readme.txt").write_text("not a WARC")
    out = tmp_path / "out"
    result = run(config(WarcFiles()), {}, out, Execution(source=str(folder)))
    rows = manifest_rows(out)
    assert {row["warc_filename"] for row in rows} == set(names)
    for row in rows:
        data = (folder / row["warc_filename"]).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert row["warc_record_offset"] is None
        assert row["url"] is None
    for bucket in range(4):
        totals, of_bucket = read_manifest(out, bucket)
        assert [row["part"] for row in of_bucket] == list(range(len(of_bucket)))
        assert [row["warc_filename"] for row in of_bucket] == sorted(row["warc_filename"] for row in of_bucket)
        assert totals["crawl"] == CRAWL
    assert result.counts["files"] == 9
    assert all(check.passed for check in result.checks)


@settings(max_examples=40)
@given(names=st.sets(st.text(min_size=1), max_size=30), num_buckets=st.integers(1, 99))
def test_a_bucket_depends_on_the_name_alone(names, num_buckets):
    buckets = {name: bucket_of(name, num_buckets) for name in names}
    assert all(0 <= bucket < num_buckets for bucket in buckets.values())
    assert all(bucket_of(name, num_buckets) == bucket for name, bucket in buckets.items())


def test_buckets_never_change():
    known = {"a.warc.gz": 58, "CC-MAIN-2024-22/x.warc.gz": 44, "com,example)/": 22}
    assert {name: bucket_of(name, 96) for name in known} == known


def test_a_single_file(tmp_path):
    write_warc(tmp_path / "in" / "one.warc.gz", {"https://site.example/": HTML})
    write_warc(tmp_path / "in" / "two.warc.gz", {"https://site.example/": HTML})
    run(config(WarcFiles()), {}, tmp_path / "out", Execution(source=str(tmp_path / "in" / "one.warc.gz")))
    assert [row["warc_filename"] for row in manifest_rows(tmp_path / "out")] == ["one.warc.gz"]


def test_warc_files_on_s3(s3_endpoint, tmp_path):
    root = put_s3(s3_endpoint, {"x/one.warc.gz": b"abc", "two.warc": b"defg", "notes.txt": b""})
    execution = Execution(source=root, endpoint_url=s3_endpoint)
    run(config(WarcFiles()), {}, tmp_path, execution)
    rows = {row["warc_filename"]: row for row in manifest_rows(tmp_path)}
    assert {name: row["bytes"] for name, row in rows.items()} == {"x/one.warc.gz": 3, "two.warc": 4}
    assert rows["two.warc"]["version"] == hashlib.md5(b"defg").hexdigest()
    assert observe(config(WarcFiles()), execution) == [
        ["two.warc", 4, hashlib.md5(b"defg").hexdigest()],
        ["x/one.warc.gz", 3, hashlib.md5(b"abc").hexdigest()],
    ]


def test_observe_sees_a_new_a_changed_and_a_removed_file(tmp_path):
    execution = Execution(source=str(tmp_path))
    seen = []
    for step in range(4):
        if step < 2:
            write_warc(tmp_path / f"{step}.warc.gz", {"https://site.example/": HTML})
        elif step == 2:
            write_warc(tmp_path / "0.warc.gz", {"https://site.example/": HTML, "https://site.example/2": HTML})
        else:
            (tmp_path / "1.warc.gz").unlink()
        seen.append(json.dumps(observe(config(WarcFiles()), execution)))
    assert len(set(seen)) == 4
    assert json.dumps(observe(config(WarcFiles()), execution)) == seen[-1]


@pytest.mark.parametrize("kind", ["unset", "missing", "nothing", "empty_file"])
def test_bad_folders_are_named(tmp_path, kind):
    folder = tmp_path / kind
    if kind in ("nothing", "empty_file"):
        folder.mkdir()
    if kind == "empty_file":
        (folder / "hollow.warc.gz").touch()
    source = None if kind == "unset" else str(folder)
    with pytest.raises(InputError, match={"unset": "execution.source", "empty_file": "hollow"}.get(kind, kind)):
        run(config(WarcFiles()), {}, tmp_path / "out", Execution(source=source))


def sample_crawl(folder: Path) -> Path:
    files = {}
    for crawl in ("S-2026-05", CRAWL):
        name = f"crawl-data/{crawl}/segments/0/warc/x.warc.gz"
        write_warc(folder / name, {f"https://{crawl.lower()}.example/": HTML})
        data = (folder / name).read_bytes()
        files[crawl] = {"warc_files": [{"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}]}
    (folder / "manifest.json").write_text(json.dumps({"crawls": files}))
    return folder


def test_the_sample_crawl(tmp_path):
    inputs = {"sample_crawl": [sample_crawl(tmp_path / "in")]}
    run(config(SampleSource()), inputs, tmp_path / "out", Execution())
    assert [row["warc_filename"] for row in manifest_rows(tmp_path / "out")] == [
        f"crawl-data/{CRAWL}/segments/0/warc/x.warc.gz"
    ]
    with pytest.raises(InputError, match="NO-SUCH"):
        run(CrawlManifestConfig(crawl="NO-SUCH"), inputs, tmp_path / "out2", Execution())


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
        files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        yield Execution(source=put_s3(endpoint, files), endpoint_url=endpoint)


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
    result = run(config(CommonCrawl(urls=tuple(wanted))), {}, tmp_path / "out", common_crawl)
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
    run(config(selection), {}, tmp_path / "out", common_crawl)
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
    run(config(selection, num_buckets=3), {}, tmp_path / "out", Execution(source=str(tmp_path / "cc")))
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
    result = run(config(source), {}, tmp_path / "out", Execution(source=str(tmp_path / "cc")))
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
    run(config(source), inputs, tmp_path / "out", execution)
    assert urls(tmp_path / "out") == {"https://other.example/a"}
    assert missing(tmp_path / "out") == {("not an address", "not_an_address")}
    with pytest.raises(InputError, match="SHA-256"):
        run(config(CommonCrawl(url_list_sha256="0" * 64)), inputs, tmp_path / "out2", execution)


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
    with serving(server.handler()) as address:
        run(config(CommonCrawl(domains=("site0123.example",))), {}, tmp_path / "out", Execution(source=address))
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
    files = {
        p.relative_to(tmp_path / "cc").as_posix(): p.read_bytes() for p in (tmp_path / "cc").rglob("*") if p.is_file()
    }
    root = put_s3(s3_endpoint, files)
    proxy = BusyProxy(s3_endpoint, lambda method, path: [SLOW_DOWN, FORBIDDEN])
    with serving(proxy.handler()) as address:
        execution = Execution(source=root, endpoint_url=address)
        run(config(CommonCrawl(domains=("maths.example",))), {}, tmp_path / "out", execution)
    assert proxy.refused > 0
    assert len(manifest_rows(tmp_path / "out")) == 3


def test_a_lookup_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    import ops.crawl_manifest.columnar as columnar

    write_common_crawl(tmp_path / "cc", CRAWL, CAPTURES, index_files=4)
    execution = Execution(source=str(tmp_path / "cc"))
    source = CommonCrawl(domains=("example",))
    run(config(source), {}, tmp_path / "whole", execution)
    scan, scanned = columnar.scan, []

    def killed_at_the_third(source, name, predicate):
        scanned.append(name)
        if len(scanned) == 3:
            raise KeyboardInterrupt
        return scan(source, name, predicate)

    monkeypatch.setattr(columnar, "scan", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(config(source), {}, tmp_path / "resumed", execution)
    run(config(source), {}, tmp_path / "resumed", execution)
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
        run(config(source), {}, tmp_path / "out", execution)
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(InputError, match="part-00000"):
        run(config(source), {}, tmp_path / "out", execution)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: CrawlManifestConfig(crawl="a/b"), "crawl"),
        (lambda: CrawlManifestConfig(crawl=CRAWL, num_buckets=100), "num_buckets"),
        (lambda: CrawlManifestConfig(crawl=CRAWL, num_buckets=0), "num_buckets"),
        (lambda: CommonCrawl(), "source"),
        (lambda: CommonCrawl(urls=("ftp://x/",)), "source.urls"),
        (lambda: CommonCrawl(domains=("www.example.com",)), "source.domains"),
        (lambda: CommonCrawl(domains=("https://example.com/",)), "source.domains"),
        (lambda: CommonCrawl(url_list_sha256="abc"), "url_list_sha256"),
        (lambda: CommonCrawl(domains=("example.com",), mime_types=()), "mime_types"),
        (lambda: CommonCrawl(domains=("example.com",), rows_per_part=0), "rows_per_part"),
    ],
)
def test_settings_that_cannot_be_are_named(make, field):
    with pytest.raises(InputError, match=field):
        make()


def test_a_bucket_that_is_not_there_and_an_edited_manifest(tmp_path):
    write_warc(tmp_path / "in" / "one.warc.gz", {"https://site.example/": HTML})
    run(config(WarcFiles()), {}, tmp_path / "out", Execution(source=str(tmp_path / "in")))
    with pytest.raises(InputError, match="bucket: 4"):
        read_manifest(tmp_path / "out", 4)
    table = pq.read_table(tmp_path / "out" / "manifest.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "out" / "manifest.parquet")
    with pytest.raises(InputError, match="rows of bucket"):
        read_manifest(tmp_path / "out", bucket_of("one.warc.gz", 4))


@pytest.mark.parametrize("source", [SampleSource(), WarcFiles(), CommonCrawl(domains=("example.com",))])
def test_the_config_survives_its_encoding(source):
    assert decode(CrawlManifestConfig, encode(config(source))) == config(source)


def test_the_command_line(tmp_path, capsys):
    sample = sample_crawl(tmp_path / "in")
    manifest = ["--crawl", CRAWL, "--num-buckets", "1", "--input", f"sample_crawl={sample}", "--out"]
    names = ("crawl_manifest", "sample_crawl")
    argv = [*manifest, str(tmp_path / "out")]
    assert stage_main("ops.crawl_manifest", CrawlManifestConfig, input_names=names, argv=argv) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["files"] == 1
    inputs = ["--input", f"crawl_manifest={tmp_path / 'out'}", "--input", f"sample_crawl={sample}"]
    argv = ["--bucket", "0", *inputs, "--out", str(tmp_path / "pages")]
    assert stage_main("ops.crawl_pages", CrawlPagesConfig, input_names=names, argv=argv) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["out"] == 1
    argv = [*manifest, str(tmp_path / "out2"), "--source", '{"class": "CommonCrawl"}']
    assert stage_main("ops.crawl_manifest", CrawlManifestConfig, input_names=names, argv=argv) == 1
    assert "needs urls, url_list_sha256 or domains" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["ops.crawl_manifest", "ops.crawl_pages"])
def test_help(package):
    command = [sys.executable, "-m", package, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert "--num-buckets" in result.stdout or "--bucket" in result.stdout
