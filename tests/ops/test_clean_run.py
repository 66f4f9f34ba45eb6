"""The stage with a model: kills, caches, counters, and an endpoint that goes away."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ops.clean.calls import Cache, Calls
from ops.clean.config import CleanConfig, LlmCleaner, RuleCleaner
from ops.clean.engines import Answer, Chat, EngineError, Failure, Reading
from ops.clean.prompts import REWRITE, SELECT, digest
from ops.clean.run import observe, run
from ops.cli import stage_main
from ops.errors import InputError
from ops.ledger.follow import Stage
from ops.parts import write_rows
from ops.schema import DOCUMENTS
from ops.stage import Execution, StageResult
from tests.fakes.documents import document
from tests.fakes.engines import Scripted
from tests.fakes.openai_server import Server, serve

LLM = LlmCleaner(engine="endpoint", model="scripted", revision="1", chunk_tokens=40)
CONFIG = CleanConfig(rules=RuleCleaner(least_chars=40), llm=LLM)
FILLER = "The sum of the first odd numbers is a square, and the proof is a picture of growing corners."
SHOP = "Popular in the shop this week: mugs, shirts and posters for every taste."


def documents(folder: Path, num_parts: int = 3) -> Path:
    for part in range(num_parts):
        rows = []
        for number in range(4):
            row = document(
                f"# Page {part}{number}\n\n{FILLER} ", (f"a_{part} + b_{number}", False), f"\n\n{SHOP}\n\n",
                (f"\\sum_{number} {part}", True), f"\n\nA paragraph of page {part}{number} alone. {FILLER}",
            )  # fmt: skip
            row |= {
                "doc_id": f"d{part}{number}", "crawl": "C", "url": f"http://x/{part}{number}", "warc_filename": "w",
                "warc_record_offset": number, "warc_record_length": 1,
            }  # fmt: skip
            rows.append(row)
        rows.append({**rows[0], "doc_id": f"s{part}", "text": "Short.", "formulas": []})
        write_rows(folder / f"part-0000{part}.parquet", rows, DOCUMENTS)
    return folder


def write(text: str) -> str:
    """Leaves the shop out; on one page it makes up a formula."""
    if "page 21" in text:
        return text + " So $x$ holds."
    return re.sub(rf"{SHOP}(\n\n)?", "", text).strip() or "NO USEFUL CONTENT"


def clean(source: Path, out: Path, server: Server, config: CleanConfig = CONFIG) -> StageResult:
    return run(config, {"documents": [source]}, out, Execution(source=server.url))


def files(folder: Path, without: Sequence[str] = ("speed.json",)) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in without)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return documents(tmp_path / "documents")


def test_rows_counts_and_checks(source: Path, tmp_path: Path) -> None:
    with serve(Scripted(write)) as server:
        result = clean(source, tmp_path / "out", server)
    rows = [row for part in sorted((tmp_path / "out").glob("part-*")) for row in pq.read_table(part).to_pylist()]
    assert len(rows) == 12
    assert all(row["cleaner"] == f"rewrite-endpoint-scripted@1-{digest(REWRITE)}" for row in rows)
    by_id = {row["doc_id"]: row for row in rows}
    assert by_id["d21"]["rejected_chunks"] == ["formula_invented"]
    assert by_id["d20"]["rejected_chunks"] == []
    assert SHOP not in by_id["d20"]["text"]
    for row in rows:
        part, number = row["doc_id"][1:]
        places = [row["text"][place["start"] : place["end"]] for place in row["formulas"]]
        assert places == [f"$a_{part} + b_{number}$", f"$$\\sum_{number} {part}$$"]
    assert result.dropped == {"too_short": 3}
    checks = {check.name: check for check in result.checks}
    assert all(checks[name].passed for name in ("nothing_vanishes", "formulas_reconcile", "chunks_reconcile"))
    assert not checks["cleaner_kept_the_contract"].passed
    assert not checks["cleaner_kept_the_contract"].blocking
    assert result.summary["llm"]["rejected"] == {"formula_invented": 1}
    assert result.counts["chunks"] == sum(row["num_chunks"] for row in rows) > 12
    assert result.counts["chunks"] == result.counts["chunks_accepted"] + 1
    assert result.counts["tokens_in"] > result.counts["tokens_out"] > 0
    assert result.counts["documents_with_rejected_chunks"] == 1
    assert result.volatile == ["speed.json"]
    speed = json.loads((tmp_path / "out" / "speed.json").read_text())
    assert speed["calls"] + speed["cached"] <= result.counts["chunks"]
    assert speed["tokens_out_per_second"] > 0
    assert not (tmp_path / "out" / "calls").exists()
    json.dumps(result.summary)


class Dies(Scripted):
    """An engine whose process is killed when it is asked for the `last` time."""

    def __init__(self, last: int) -> None:
        super().__init__(write)
        self.last = last

    def generate(self, chats: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failure]]:
        for index, chat in enumerate(chats):
            if len(self.asked) == self.last:
                raise KeyboardInterrupt
            yield index, next(super().generate([chat]))[1]


@pytest.mark.parametrize("last", [0, 1, 7, 12])
def test_a_killed_run_goes_on_without_repeating_a_call(
    source: Path, tmp_path: Path, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[Scripted] = [Scripted(write), Dies(last), Scripted(write, backwards=True)]
    undisturbed, killed, resumed = engines
    monkeypatch.setattr("ops.clean.run.make_engine", lambda config, execution: engines[0])
    inputs = {"documents": [source]}
    whole = run(CONFIG, inputs, tmp_path / "whole", Execution(source="x"))
    engines[0] = killed
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, inputs, tmp_path / "out", Execution(source="x"))
    engines[0] = resumed
    result = run(CONFIG, inputs, tmp_path / "out", Execution(source="x"))
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert (result.counts, result.summary) == (whole.counts, whole.summary)
    assert sorted(killed.asked + resumed.asked) == sorted(undisturbed.asked), "each call was made once"


def test_a_cache_elsewhere_serves_later_runs(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_LLM_CACHE", "memory://answers")
    with serve(Scripted(write)) as server:
        clean(source, tmp_path / "one", server)
        asked = len(server.requests)
        clean(source, tmp_path / "two", server)
        other = replace(CONFIG, llm=replace(LLM, revision="2"))
        assert len([path for path, _, _ in server.requests[asked:] if path != "/tokenize"]) == 0
        clean(source, tmp_path / "three", server, other)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len([path for path, _, _ in server.requests[asked:] if path != "/tokenize"]) > 12


def test_equal_questions_are_asked_once_and_a_silent_engine_is_a_failure(tmp_path: Path) -> None:
    chats = [Chat(system="s", user=user) for user in ("a", "b", "a", "a", "b")]
    engine = Scripted(str.upper)
    calls = Calls(LLM, engine, Cache(tmp_path))
    answers = calls.generate(chats)
    assert [answer.text for answer in answers if isinstance(answer, Answer)] == ["A", "B", "A", "A", "B"]
    assert engine.asked == ["a", "b"]
    assert (calls.speed.calls, calls.speed.cached, calls.speed.tokens_out) == (2, 0, 2)
    failing = Scripted(lambda text: Failure(reason="timed_out", detail="") if text == "c" else text)
    failed = Calls(LLM, failing, Cache(tmp_path)).generate([*chats[:1], Chat(system="s", user="c")])
    assert failed[1] == Failure(reason="timed_out", detail="")
    assert failing.asked == ["c"]
    again = Calls(LLM, engine, Cache(tmp_path)).generate([Chat(system="s", user="c")])
    assert isinstance(again[0], Answer), "a failure is not kept"
    failing.generate = lambda chats: iter(())
    (nothing,) = Calls(LLM, failing, Cache(tmp_path)).generate([Chat(system="s", user="d")])
    assert isinstance(nothing, Failure)
    assert nothing.reason == "no_answer"


def test_damaged_answers_in_the_cache_are_asked_for_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    key = "ab" * 32
    cache.put(key, {"text": "naïve ⟦F1⟧", "tokens_in": 3})
    assert cache.get(key) == {"text": "naïve ⟦F1⟧", "tokens_in": 3}
    assert cache.get("cd" * 32) is None
    path = tmp_path / "ab" / f"{key}.json"
    for damage in (b"", path.read_bytes()[:-9], path.read_bytes().replace(b"F1", b"F2"), b"[]", b"{}"):
        path.write_bytes(damage)
        assert cache.get(key) is None
    assert cache.damaged == 5


def test_an_endpoint_that_is_gone_stops_the_stage_and_nothing_is_published(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_LLM_RETRIES", "0")
    config = replace(CONFIG, llm=replace(LLM, count_tokens_by="estimate"))
    with serve(Scripted(write)) as server:
        pass
    with pytest.raises(EngineError, match="after 1 attempts"):
        clean(source, tmp_path / "out", server, config)
    assert not list((tmp_path / "out" / "marks").glob("*"))


def test_select_over_the_endpoint(source: Path, tmp_path: Path) -> None:
    judge = Scripted(judge=lambda paragraph: -1.0 if "shop" in paragraph else 1.0)
    config = replace(CONFIG, llm=replace(LLM, mode="select", prompt=SELECT))
    with serve(Uneven(judge)) as server:
        result = clean(source, tmp_path / "out", server, config)
    assert result.counts["paragraphs_dropped_model"] == 12
    assert result.counts["chunks"] == result.counts["chunks_accepted"] == 48
    assert "tokens_out" not in result.counts
    rows = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    assert all(SHOP not in row["text"] and len(row["formulas"]) == 2 for row in rows)


class Uneven(Scripted):
    """Only ` article` gets the judge's log-odds, whichever option is asked for alone."""

    def __init__(self, judge: Scripted) -> None:
        super().__init__(judge=judge.judge)

    def score(self, readings: Sequence[Reading], options: Sequence[str]):  # type: ignore[no-untyped-def]
        for index, likelihood in super().score(readings, options):
            assert not isinstance(likelihood, Failure)
            yield index, likelihood if options == [" article"] else replace(likelihood, log_likelihoods=(0.0,))


def test_the_ledger_follows_documents_through_a_model(source: Path, tmp_path: Path) -> None:
    with serve(Scripted(write)) as server:
        clean(source, tmp_path / "out", server)
    stage = Stage("clean", tmp_path / "out", "part-00000", ["text", "formulas", "dropped_paragraphs"])
    for row in pq.read_table(source / "part-00000.parquet").to_pylist():
        stage.take(row["doc_id"])
    stage.close()


def command(arguments: Sequence[str]) -> int:
    return stage_main("ops.clean", CleanConfig, input_names=["documents"], argv=arguments)


def test_from_the_command_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    llm = {"engine": "endpoint", "model": "scripted", "revision": "1", "chunk_tokens": 40}
    arguments = ["--input", f"documents={source}", "--out", str(tmp_path / "out"), "--llm", json.dumps(llm)]
    with serve(Scripted(write)) as server:
        assert command([*arguments, "--read-from", server.url]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["llm"]["rejected"] == {"formula_invented": 1}
    assert command([*arguments[:3], str(tmp_path / "again"), *arguments[4:]]) == 1
    assert "say where scripted lies" in capsys.readouterr().err


def test_what_is_observed(tmp_path: Path) -> None:
    assert observe(CleanConfig(), Execution()) is None
    assert observe(CONFIG, Execution()) is None
    local = CleanConfig(llm=replace(LLM, engine="transformers"))
    with pytest.raises(InputError, match="not the folder of scripted"):
        observe(local, Execution())
    (tmp_path / "config.json").write_text("{}")
    ((name, size, _),) = observe(local, Execution(source=str(tmp_path)))
    assert (name, size) == ("config.json", 2)
