"""The stages `extract` and `clean` over parts, and their command lines."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ops.clean.config import CleanConfig
from ops.clean.run import run as run_clean
from ops.errors import InputError
from ops.extract import ExtractConfig
from ops.extract.__main__ import main
from ops.extract.run import run as run_extract
from ops.parts import write_rows
from ops.schema import PAGES
from ops.stage import Execution

PROSE = b"<p>" + b"The derivative of a sum is the sum of the derivatives of its terms. " * 5 + b"</p>"
CONTENTS = {
    "good": (
        b"<title>T</title><html lang=en><meta name=author content=Ada><body><h1>Sum</h1>"
        + PROSE
        + rb"<p>\(x^2\)</p><p>Previous | Next</p>",
        "text/html",
        None,
    ),
    "notebook": (
        json.dumps(
            {"nbformat": 4, "cells": [{"cell_type": "markdown", "source": PROSE.decode()[3:-4] + "$a_1+a_2$"}]}
        ).encode(),
        "application/json",
        None,
    ),
    "latin": (b"<body>" + PROSE + "<p>naïve \\[y_1\\]</p>".encode("latin-1"), "text/html", "iso-8859-1"),
    "pdf": (b"%PDF-1.4", "text/html", None),
    "image": (b"\x89PNG", "image/png", None),
    "empty": (b"<html><body><nav><a href=x>y</a></nav></body></html>", "text/html", None),
    "broken": (b"<p>a" + b"\xff\xfe\x81" * 500, "text/html", "utf-8"),
    "large": (b"<p>" + b"x" * 200_000, "text/html", None),
    "short": (b"<p>Tiny.</p>", "text/html", None),
    "garbage": (bytes(range(256)), None, None),
}


def pages(directory: Path) -> Path:
    names = list(CONTENTS)
    for part, chosen in enumerate((names[:5], names[5:])):
        rows: list[dict[str, Any]] = []
        for number, name in enumerate(chosen):
            content, mime, charset = CONTENTS[name]
            rows.append(
                {
                    "doc_id": name, "crawl": "C", "url": f"http://x/{name}", "warc_filename": "w", "content": content,
                    "warc_record_offset": number, "warc_record_length": 1, "content_mime_type": mime,
                    "content_charset": charset, "http_status": 200,
                }
            )  # fmt: skip
        write_rows(directory / f"part-{part:05d}.parquet", rows, PAGES)
    return directory


def read(directory: Path, folder: str = "") -> list[dict[str, Any]]:
    return [row for path in sorted((directory / folder).glob("part-*")) for row in pq.read_table(path).to_pylist()]


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def extract(tmp_path: Path, out: str = "documents") -> Any:
    config = ExtractConfig(max_bytes=100_000)
    return run_extract(config, {"pages": [tmp_path / "pages"]}, tmp_path / out, Execution())


def test_extract_and_clean(tmp_path: Path) -> None:
    pages(tmp_path / "pages")
    result = extract(tmp_path)
    rows = {row["doc_id"]: row for row in read(tmp_path / "documents")}
    assert set(rows) == {"good", "notebook", "latin", "short"}
    assert {row["doc_id"]: row["reason"] for row in read(tmp_path / "documents", "dropped")} == {
        "pdf": "not_html", "image": "not_html", "empty": "empty_text", "broken": "decode_failed", "large": "too_large",
        "garbage": "not_html",
    }  # fmt: skip
    assert result.counts["in"] == 10
    assert result.counts["formulas"] == 3
    assert (result.counts["pages_html"], result.counts["pages_notebook"]) == (3, 1)
    assert (rows["good"]["kind"], rows["notebook"]["kind"]) == ("html", "notebook")
    assert (rows["good"]["declared_language"], rows["good"]["author"], rows["good"]["date"]) == ("en", "Ada", None)
    assert result.counts["formulas_tex-parenthesis"] == result.counts["formulas_tex-bracket"] == 1
    assert all(check.passed for check in result.checks)
    assert rows["good"]["title"] == "T"
    assert rows["latin"]["encoding"] == "cp1252"
    assert "naïve" in rows["latin"]["text"]
    assert rows["good"]["url"] == "http://x/good"
    assert result.summary["samples"][0]["doc_id"] == "good"
    json.dumps(result.summary)
    for row in rows.values():
        for formula in row["formulas"]:
            mark = "$$" if formula["display"] else "$"
            assert row["text"][formula["start"] : formula["end"]] == f"{mark}{formula['latex']}{mark}"

    cleaned = run_clean(CleanConfig(), {"documents": [tmp_path / "documents"]}, tmp_path / "cleaned", Execution())
    kept = {row["doc_id"]: row for row in read(tmp_path / "cleaned")}
    assert set(kept) == {"good", "notebook", "latin"}
    assert kept["good"]["num_paragraphs_dropped"] == 1
    assert "Previous" not in kept["good"]["text"]
    assert kept["good"]["num_formulas"] == 1
    assert kept["good"]["cleaner"] == "rules-1"
    assert cleaned.dropped == {"too_short": 1}
    assert all(check.passed for check in cleaned.checks)
    assert cleaned.summary["formulas"] == {"in": 3, "out": 3, "in_dropped_paragraphs": 0, "in_dropped_documents": 0}
    json.dumps(cleaned.summary)


def test_resumed_run_is_byte_identical(tmp_path: Path) -> None:
    pages(tmp_path / "pages")
    extract(tmp_path)
    inputs = {"documents": [tmp_path / "documents"]}
    run_clean(CleanConfig(), inputs, tmp_path / "cleaned", Execution())
    extract(tmp_path, "again")
    (tmp_path / "again" / "marks" / "part-00001.json").unlink()
    (tmp_path / "again" / "part-00001.parquet").write_bytes(b"half")
    extract(tmp_path, "again")
    assert files(tmp_path / "again") == files(tmp_path / "documents")
    run_clean(CleanConfig(), inputs, tmp_path / "cleaned-again", Execution())
    assert files(tmp_path / "cleaned-again") == files(tmp_path / "cleaned")


def test_documents_whose_offsets_lie_are_dropped_and_counted(tmp_path: Path) -> None:
    from ops.schema import DOCUMENTS

    pages(tmp_path / "pages")
    extract(tmp_path)
    rows = read(tmp_path / "documents")
    rows[0]["formulas"][0]["start"] += 1
    write_rows(tmp_path / "bad" / "part-00000.parquet", rows, DOCUMENTS)
    result = run_clean(CleanConfig(), {"documents": [tmp_path / "bad"]}, tmp_path / "cleaned", Execution())
    assert result.dropped == {"formula_offsets": 1, "too_short": 1}
    assert all(check.passed for check in result.checks if check.blocking)


def test_missing_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pages"):
        run_extract(ExtractConfig(), {}, tmp_path, Execution())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no part"):
        run_clean(CleanConfig(), {"documents": [tmp_path / "empty"]}, tmp_path / "out", Execution())


def test_page_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(rb"<title>T</title><p>So \(x^2\).</p>")
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == "So $x^2$.\n"
    assert main([str(path), "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["title"] == "T"
    assert page["formulas"] == [{"latex": "x^2", "display": False, "carrier": "tex-parenthesis", "start": 3, "end": 8}]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"<p>from standard input</p>")))
    assert main(["-"]) == 0
    assert capsys.readouterr().out == "from standard input\n"
    assert main([str(tmp_path / "absent.html")]) == 1
    assert "absent.html" in capsys.readouterr().err


def test_stage_commands(tmp_path: Path) -> None:
    pages(tmp_path / "pages")
    for package, source, out in (("ops.extract", "pages", "documents"), ("ops.clean", "documents", "cleaned")):
        command = [
            sys.executable,
            "-m",
            package,
            "--input",
            f"{source}={tmp_path / source}",
            "--out",
            str(tmp_path / out),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["counts"]["in"] > 0
    assert len(read(tmp_path / "cleaned")) >= 2
