"""What the report and the UI say of a model that cleaned: from the records of real runs of the stage."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.metadata import metadata_of
from ops.clean.config import CleanConfig, LlmCleaner
from ops.execute import Request, Stage, execute
from ops.report.collect import cleaning, cleaning_speeds, records_of
from ops.report.render import cleaning as cleaning_table
from ops.report.render import markdown
from ops.schema import DOCUMENTS
from ops.stage import Execution
from ops.store import Record, Store
from tests.fakes.engines import LENIENT, Scripted
from tests.fakes.openai_server import serve

LLM = LlmCleaner(engine="endpoint", model="scripted", revision="1", chunk_tokens=60)
MADE = {"text": "x", "title": "T", "num_replaced": 0, "kind": "html", "encoding": "utf-8", "formulas": []}


def write(text: str) -> str:
    """Copies; invents an equation where it reads of primes; has no time for sums."""
    if "prime" in text:
        return f"{text} Hence $p = 2$."
    return "" if "sum" in text else text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Record]]:
    """Two partitions, cleaned by a scripted model behind an endpoint."""
    root = tmp_path_factory.mktemp("store")
    store = Store(str(root / "store"))
    texts = [
        ["Every prime above two is odd, as everybody knows.", "The sum of two odd numbers is even, and so on."],
        ["A group has one neutral element, which is easily seen.", "No prime is a square, since it has two divisors."],
    ]
    records = []
    with serve(Scripted(write)) as server:
        for number, bodies in enumerate(texts):
            source = root / f"documents-{number}"
            source.mkdir()
            rows = [_row(f"{number}{index}", text) for index, text in enumerate(bodies)]
            pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS), source / "part-00000.parquet")
            request = Request(
                asset="cleaned",
                partition=f"C|{number}",
                stage=Stage(package="ops.clean", version="1"),
                config=CleanConfig(rules=LENIENT, llm=LLM),
            )
            run = lambda call, source=source: call.stage.module().run(  # noqa: E731
                call.config, {"documents": [source]}, call.out, call.execution
            )
            records.append(execute(store, request, Execution(source=server.url), run).record)
    return store, records


def _row(doc_id: str, text: str) -> dict[str, Any]:
    required = {field.name: 0 if pa.types.is_integer(field.type) else "x" for field in DOCUMENTS if not field.nullable}
    return {**required, **MADE, "doc_id": doc_id, "text": text}


def test_the_report_adds_up_what_became_of_every_chunk(made: tuple[Store, list[Record]]) -> None:
    store, records = made
    inputs = {"cleaned": [store.local_path(record) for record in records]}
    (row,) = cleaning(records_of(inputs))
    assert row["cleaner"] == LLM.name
    assert row["chunks"] == row["accepted"] + sum(row["rejected"].values()) == 4
    rows = [row for path in inputs["cleaned"] for row in pq.read_table(path / "part-00000.parquet").to_pylist()]
    assert row["rejected"] == Counter(reason for each in rows for reason in each["rejected_chunks"])
    assert row["rejected"]["formula_invented"] == 2
    speeds = cleaning_speeds(inputs, records_of(inputs))
    assert speeds[LLM.name]["calls"] == 4
    assert speeds[LLM.name]["tokens_in"] == row["tokens_in"] > 0
    assert speeds[LLM.name]["seconds"] > 0
    page = markdown("report", [cleaning_table([row], speeds)])
    assert f"| {LLM.name} | 4 | 1 | 75.0% | formula_invented 2, " in page
    assert cleaning({"cleaned": []}) == []


def test_the_ui_shows_chunks_reasons_and_speed(made: tuple[Store, list[Record]]) -> None:
    store, (first, _) = made
    shown = metadata_of(first, store, reused=False)
    assert shown["count/chunks"] == 2
    assert shown["count/chunks_rejected_formula_invented"] == 1
    assert "tokens_out_per_second" in shown["speed"].value
    assert "rejection_rate" in shown["summary/llm"].value
