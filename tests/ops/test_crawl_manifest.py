"""What belongs to a crawl: files by bucket, its settings, its commands."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.cli import stage_main
from ops.crawl_manifest.config import CommonCrawl, CrawlManifestConfig, SampleSource, WarcFiles
from ops.crawl_manifest.rows import bucket_of, read_manifest
from ops.crawl_manifest.run import observe, run
from ops.crawl_pages.config import CrawlPagesConfig
from ops.errors import InputError
from ops.identity import decode, encode
from ops.stage import Execution
from tests.ops import crawl_servers
from tests.ops.crawl_servers import put_s3
from tests.ops.crawl_stages import CRAWL, manifest_config, manifest_rows
from tests.ops.crawl_warcs import HTML, write_warc

moto_server, s3_endpoint = crawl_servers.moto_server, crawl_servers.s3_endpoint


def test_a_folder_of_warc_files(tmp_path):
    folder = tmp_path / "in"
    names = [f"deep/{n}/file-{n}.warc{'.gz' if n % 2 else ''}" for n in range(9)]
    for n, name in enumerate(names):
        write_warc(folder / name, {f"https://site.example/{n}": HTML}, compress=n % 2 == 1)
    (folder / "readme.txt").write_text("not a WARC")
    out = tmp_path / "out"
    result = run(manifest_config(WarcFiles()), {}, out, Execution(source=str(folder)))
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
    run(manifest_config(WarcFiles()), {}, tmp_path / "out", Execution(source=str(tmp_path / "in" / "one.warc.gz")))
    assert [row["warc_filename"] for row in manifest_rows(tmp_path / "out")] == ["one.warc.gz"]


def test_warc_files_on_s3(s3_endpoint, tmp_path):
    root = put_s3(s3_endpoint, {"x/one.warc.gz": b"abc", "two.warc": b"defg", "notes.txt": b""})
    execution = Execution(source=root, endpoint_url=s3_endpoint)
    run(manifest_config(WarcFiles()), {}, tmp_path, execution)
    rows = {row["warc_filename"]: row for row in manifest_rows(tmp_path)}
    assert {name: row["bytes"] for name, row in rows.items()} == {"x/one.warc.gz": 3, "two.warc": 4}
    assert rows["two.warc"]["version"] == hashlib.md5(b"defg").hexdigest()
    assert observe(manifest_config(WarcFiles()), execution) == [
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
        seen.append(json.dumps(observe(manifest_config(WarcFiles()), execution)))
    assert len(set(seen)) == 4
    assert json.dumps(observe(manifest_config(WarcFiles()), execution)) == seen[-1]


@pytest.mark.parametrize("kind", ["unset", "missing", "nothing", "empty_file"])
def test_bad_folders_are_named(tmp_path, kind):
    folder = tmp_path / kind
    if kind in ("nothing", "empty_file"):
        folder.mkdir()
    if kind == "empty_file":
        (folder / "hollow.warc.gz").touch()
    source = None if kind == "unset" else str(folder)
    with pytest.raises(InputError, match={"unset": "execution.source", "empty_file": "hollow"}.get(kind, kind)):
        run(manifest_config(WarcFiles()), {}, tmp_path / "out", Execution(source=source))


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
    run(manifest_config(SampleSource()), inputs, tmp_path / "out", Execution())
    assert [row["warc_filename"] for row in manifest_rows(tmp_path / "out")] == [
        f"crawl-data/{CRAWL}/segments/0/warc/x.warc.gz"
    ]
    with pytest.raises(InputError, match="NO-SUCH"):
        run(CrawlManifestConfig(crawl="NO-SUCH"), inputs, tmp_path / "out2", Execution())


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
    run(manifest_config(WarcFiles()), {}, tmp_path / "out", Execution(source=str(tmp_path / "in")))
    with pytest.raises(InputError, match="bucket: 4"):
        read_manifest(tmp_path / "out", 4)
    table = pq.read_table(tmp_path / "out" / "manifest.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "out" / "manifest.parquet")
    with pytest.raises(InputError, match="rows of bucket"):
        read_manifest(tmp_path / "out", bucket_of("one.warc.gz", 4))


@pytest.mark.parametrize("source", [SampleSource(), WarcFiles(), CommonCrawl(domains=("example.com",))])
def test_the_config_survives_its_encoding(source):
    assert decode(CrawlManifestConfig, encode(manifest_config(source))) == manifest_config(source)


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


HELP = {"ops.crawl_manifest": "--num-buckets ", "ops.crawl_pages": "--bucket "}


@pytest.mark.parametrize("package", HELP)
def test_help(package):
    command = [sys.executable, "-m", package, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert HELP[package] in result.stdout
