"""The formula ledger against the stages it follows, and against artefacts that were tampered with."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ops.clean.config import CleanConfig
from ops.clean.run import run as clean
from ops.errors import InputError
from ops.ledger.config import LedgerConfig
from ops.ledger.run import INPUTS, run
from ops.parts import write_rows
from ops.schema import CORPUS, DEDUPLICATED, DOCUMENTS, DROPPED, SCORED
from ops.stage import Execution, StageResult, sum_rows

PROSE = "This sentence says what the next formula means, so that the paragraph is kept as one of the article. "
HERE = Execution()


def document(number: int, latex: list[str], footer: str = "") -> dict[str, Any]:
    text, formulas = PROSE, []
    for index, formula in enumerate(latex):
        display = index % 2 == 1
        mark = "$$" if display else "$"
        whole = f"{mark}{formula}{mark}"
        formulas.append(
            {
                "latex": formula,
                "display": display,
                "carrier": ("mathml", "katex")[display],
                "start": len(text),
                "end": len(text) + len(whole),
            }
        )
        text += whole + ("\n\n" if display else " ") + PROSE
    return {
        "doc_id": f"d{number}",
        "crawl": "C",
        "url": f"http://x/{number}",
        "warc_filename": "f",
        "warc_record_offset": number,
        "warc_record_length": 1,
        "title": "T",
        "text": text + footer,
        "formulas": formulas,
        "encoding": "utf-8",
        "num_replaced": 0,
    }


DOCUMENTS_ROWS = [
    document(0, ["a^2", r"\frac{1}{2}", "x"]),
    document(1, [r"\sqrt{2}"]),
    document(2, [r"\frac{1}{2", "y"]),
    document(3, []),
    document(4, ["z_1"]),
]
FATES = {"d1": ("score", "language"), "d4": ("deduplicate", "near_duplicate")}


def build(base: Path) -> dict[str, list[Path]]:
    """Two parts through cleaning, then later stages that drop d1 and d4."""
    inputs = {name: base / name for name in INPUTS}
    for part, rows in (("part-00000", DOCUMENTS_ROWS[:3]), ("part-00001", DOCUMENTS_ROWS[3:])):
        write_rows(inputs["documents"] / f"{part}.parquet", rows, DOCUMENTS)
    clean(CleanConfig(), {"documents": [inputs["documents"]]}, inputs["cleaned"], HERE)
    scores = {"language": "en", "language_score": 1.0, "math_score": 3.0, "math_int_score": 3}
    for part in ("part-00000", "part-00001"):
        rows = pq.read_table(inputs["cleaned"] / f"{part}.parquet").to_pylist()
        for name, stage, schema in (
            ("scored", "score", SCORED),
            ("deduplicated", "deduplicate", DEDUPLICATED),
            ("corpus", "decontaminate", CORPUS),
        ):
            gone = [row for row in rows if FATES.get(row["doc_id"], ("",))[0] == stage]
            rows = [
                {**row, **scores, "cluster_id": row["doc_id"], "cluster_size": 1} for row in rows if row not in gone
            ]
            write_rows(inputs[name] / f"{part}.parquet", rows, schema)
            dropped = [{**row, "stage": stage, "reason": FATES[row["doc_id"]][1], "detail": ""} for row in gone]
            write_rows(inputs[name] / "dropped" / f"{part}.parquet", dropped, DROPPED)
    return {name: [path] for name, path in inputs.items()}


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, list[Path]]:
    return build(tmp_path / "inputs")


def ledger(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(out.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


def rewrite(path: Path, change: Any) -> None:
    table = pq.read_table(path)
    rows = [change(row) for row in table.to_pylist()]
    write_rows(path, [row for row in rows if row is not None], table.schema)


def checks(result: StageResult) -> dict[str, bool]:
    return {check.name: check.passed for check in result.checks}


def test_every_formula_has_a_row_and_a_fate(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    result = run(LedgerConfig(min_valid_share=0.5), inputs, tmp_path / "out", HERE)
    rows = ledger(tmp_path / "out")
    assert [(row["doc_id"], row["index"], row["latex"]) for row in rows] == [
        (document["doc_id"], index, formula["latex"])
        for document in DOCUMENTS_ROWS
        for index, formula in enumerate(document["formulas"])
    ]
    for row in rows:
        stage, reason = FATES.get(row["doc_id"], (None, None))
        fate = "document_dropped" if stage else "kept"
        assert (row["fate"], row["stage"], row["reason"]) == (fate, stage, reason)
    assert {row["latex"]: row["invalid"] for row in rows if row["invalid"]} == {r"\frac{1}{2": "unbalanced_braces"}
    assert result.counts["in"] == len(rows) == 7
    assert (result.counts["formulas_kept"], result.counts["formulas_document_dropped"]) == (5, 2)
    assert set(checks(result).values()) == {True}
    table = {row["carrier"]: row for row in result.summary["formulas_by_carrier"]}
    assert {name: row["found"] for name, row in table.items()} == Counter(row["carrier"] for row in rows)
    assert table["mathml"]["valid"] == table["mathml"]["found"] - 1
    assert checks(run(LedgerConfig(min_valid_share=0.9), inputs, tmp_path / "strict", HERE))["formulas_valid"] is False


def test_a_formula_goes_with_its_paragraph(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    def cut(row: dict[str, Any]) -> dict[str, Any]:
        if row["doc_id"] == "d0":
            place = row["formulas"].pop(1)
            paragraph = {"index": 1, "reason": "navigation", "text": "...", "formulas": [place["index"]]}
            row["dropped_paragraphs"].append(paragraph)
        return row

    rewrite(inputs["cleaned"][0] / "part-00000.parquet", cut)
    result = run(LedgerConfig(), inputs, tmp_path / "out", HERE)
    lost = [row for row in ledger(tmp_path / "out") if row["fate"] == "lost"]
    assert [(row["latex"], row["stage"], row["reason"]) for row in lost] == [(r"\frac{1}{2}", "clean", "navigation")]
    assert checks(result)["every_formula_accounted"]


def test_a_changed_formula_is_caught(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    def corrupt(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "text": row["text"].replace(r"\frac{1}{2}", r"\frac{1}{3}")}

    for name in ("cleaned", "corpus"):
        rewrite(inputs[name][0] / "part-00000.parquet", corrupt)
    result = run(LedgerConfig(), inputs, tmp_path / "out", HERE)
    (changed,) = [row for row in ledger(tmp_path / "out") if row["fate"] == "changed"]
    assert (changed["latex"], changed["latex_after"]) == (r"\frac{1}{2}", r"$$\frac{1}{3}$$")
    assert checks(result)["no_formula_changed"] is False


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("scored", lambda row: None, "neither kept nor dropped by stage 'score'"),
        ("corpus", lambda row: {**row, "doc_id": "other"}, "neither kept nor dropped by stage 'decontaminate'"),
        ("corpus", lambda row: {**row, "text": row["text"] + "!"}, "changed behind cleaning"),
    ],
)
def test_what_does_not_fit_together_is_an_error(
    name: str, change: Any, message: str, inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    rewrite(inputs[name][0] / "part-00000.parquet", change)
    with pytest.raises(InputError, match=message):
        run(LedgerConfig(), inputs, tmp_path / "out", HERE)


def test_a_row_that_came_from_nowhere_is_an_error(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    rewrite(inputs["documents"][0] / "part-00001.parquet", lambda row: None if row["doc_id"] == "d4" else row)
    with pytest.raises(InputError, match="d4 did not come into stage"):
        run(LedgerConfig(), inputs, tmp_path / "out", HERE)


def test_a_killed_ledger_goes_on_to_the_same_bytes(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    whole = run(LedgerConfig(), inputs, tmp_path / "whole", HERE)
    run(LedgerConfig(), inputs, tmp_path / "cut", HERE)
    (tmp_path / "cut" / "marks" / "part-00001.json").unlink()
    (tmp_path / "cut" / "part-00001.parquet").write_bytes(b"half")
    assert run(LedgerConfig(), inputs, tmp_path / "cut", HERE) == whole
    for path in (tmp_path / "whole").rglob("*.*"):
        assert (tmp_path / "cut" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()


def test_tables_add_up_by_their_label() -> None:
    tables = [[{"n": 1, "k": "b", "m": 2}], [{"k": "a", "n": 5, "m": 0}, {"k": "b", "n": 10, "m": 20}]]
    assert sum_rows(tables, "k") == [{"k": "a", "n": 5, "m": 0}, {"k": "b", "n": 11, "m": 22}]
    assert sum_rows([], "k") == []
