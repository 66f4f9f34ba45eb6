"""Labels by a language model: every document gets a score or a reason, no call is made twice, and a classifier learns
from them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ops.annotate.config import AnnotateConfig
from ops.annotate.prompt import POINTS, NoScore, read_score
from ops.annotate.run import UNLABELLED, run
from ops.clean.config import LanguageModel, Sampling
from ops.clean.engines import Answer, Chat, EngineError
from ops.errors import InputError
from ops.quality import AnnotatedLabels, QualityConfig
from ops.quality.labels import LABELS
from ops.quality.run import run as run_quality
from ops.stage import Execution, StageResult
from tests.fakes.engines import Scripted
from tests.fakes.openai_server import Reply, serve
from tests.ops.test_quality import cleaned, pages

MODEL = LanguageModel(engine="endpoint", model="judge", revision="1", sampling=Sampling(max_tokens=64))


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("It explains a proof.\nScore: 4", 4),
        ("**Score: 3**", 3),
        ("score = 0.", 0),
        ("Score: 5/5\n", 5),
        ("Score: 2 out of 5", 2),
        ("Score: <1>", 1),
        ("Score: 3\nWorked steps.\nScore: 3", 3),
        ("Educational score: 5", "no_score"),
        ("The score: 5 is not deserved", "no_score"),
        ("I would give it a 4.", "no_score"),
        ("", "no_score"),
        ("Score: 3\nScore: 4", "several_scores"),
        ("Score: 6", "score_out_of_range"),
        ("Score: -1", "score_out_of_range"),
        ("Score: 3.5", "score_out_of_range"),
        ("Score: 10/10", "no_score"),
    ],
)
def test_answers_are_read(answer: str, score: int | str) -> None:
    if isinstance(score, int):
        assert read_score(answer) == score
    else:
        with pytest.raises(NoScore, match=score):
            read_score(answer)


def annotate(
    documents: Path, out: Path, write: Callable[[str], str | Answer], **config: Any
) -> tuple[StageResult, Sequence[Chat]]:
    out.mkdir(exist_ok=True)
    scripted = Scripted(write)
    with serve(scripted) as server:
        found = run(AnnotateConfig(model=MODEL, **config), {"cleaned": [documents]}, out, Execution(source=server.url))
    messages = [body["messages"] for _, body, _ in server.requests]
    return found, [Chat(system=each[0]["content"], user=each[1]["content"]) for each in messages]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def judge(text: str) -> str:
    """Mathematics by its share of LaTeX, as the pages were made."""
    mathematics = sum(word in text for word in ("converges", "derivative", "$", "matrix", "polynomial"))
    return f"Some reasons.\nScore: {min(mathematics, 5)}"


def test_every_document_has_a_score_or_a_reason_and_a_classifier_learns_from_them(tmp_path: Path) -> None:
    rows = pages(300)
    documents = cleaned(tmp_path / "cleaned", rows)
    spoilt = {rows[3]["text"]: "no opinion", rows[9]["text"]: "Score: 7"}
    cut = Answer(text="It is", finish_reason="length", tokens_in=5, tokens_out=64)

    def write(text: str) -> str | Answer:
        return cut if text == rows[20]["text"] else spoilt.get(text) or judge(text)

    result, chats = annotate(documents, tmp_path / "labels", write)
    assert all(check.passed for check in result.checks)
    assert result.dropped == {"no_score": 1, "score_out_of_range": 1, "truncated": 1}
    assert (result.counts["documents"], result.counts["in"], result.counts["out"]) == (300, 300, 297)
    labels = lines(tmp_path / "labels" / LABELS)
    texts = {row["doc_id"]: row["text"] for row in rows}
    assert all(f"Score: {label['score']}" in judge(texts[label["doc_id"]]) for label in labels)
    in_vain = {row["doc_id"]: row["reason"] for row in lines(tmp_path / "labels" / UNLABELLED)}
    assert in_vain == {
        rows[3]["doc_id"]: "no_score",
        rows[9]["doc_id"]: "score_out_of_range",
        rows[20]["doc_id"]: "truncated",
    }
    assert {label["doc_id"] for label in labels} | set(in_vain) == set(texts)
    assert sum(result.summary["documents_by_score"].values()) == len(labels)
    assert {chat.system for chat in chats} == {POINTS}
    (tmp_path / "model").mkdir()
    quality = run_quality(
        QualityConfig(labels=AnnotatedLabels(), num_features=1 << 12),
        {"cleaned": [documents], "labels": [tmp_path / "labels"]},
        tmp_path / "model",
        Execution(),
    )
    assert quality.counts["labelled"] == len(labels)
    assert quality.summary["held_out"]["classifier"]["correlation"] > 0.7


def test_a_sample_is_a_function_of_the_seed_and_long_texts_are_cropped(tmp_path: Path) -> None:
    rows = pages(40)
    rows[0]["text"] = "a" * 300 + "middle" + "b" * 300
    documents = cleaned(tmp_path / "cleaned", rows)
    chosen = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        _, chats = annotate(documents, tmp_path / name, judge, max_documents=10, seed=seed)
        assert len(chats) == 10
        chosen.append([label["doc_id"] for label in lines(tmp_path / name / LABELS)])
    assert chosen[0] == chosen[1] != chosen[2]
    result, chats = annotate(documents, tmp_path / "all", judge, max_chars=106)
    assert result.counts["in"] == 40
    assert "a" * 50 + "middle" + "b" * 50 in [chat.user for chat in chats]


def test_a_run_that_stopped_goes_on_without_asking_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_LLM_CONCURRENCY", "1")
    rows = pages(12)
    documents, out = cleaned(tmp_path / "cleaned", rows), tmp_path / "labels"
    out.mkdir()
    config, inputs = AnnotateConfig(model=MODEL), {"cleaned": [documents]}
    with serve(Scripted(judge), lambda number, path: Reply(status=401) if number >= 5 else None) as server:
        execution = Execution(source=server.url)
        with pytest.raises(EngineError, match="HTTP 401"):
            run(config, inputs, out, execution)
    result, chats = annotate(documents, out, judge)
    assert len(chats) == len(rows) - 5
    whole, _ = annotate(documents, tmp_path / "whole", judge)
    assert (out / LABELS).read_bytes() == (tmp_path / "whole" / LABELS).read_bytes()
    assert result.counts == whole.counts
    assert not (out / "calls").exists()


def test_what_cannot_be_is_named(tmp_path: Path) -> None:
    wrongs: list[dict[str, Any]] = [{"prompt": " "}, {"max_chars": 9}, {"max_documents": 0}]
    for wrong in wrongs:
        with pytest.raises(InputError, match=rf"AnnotateConfig\.{next(iter(wrong))}"):
            AnnotateConfig(model=MODEL, **wrong)
    with pytest.raises(InputError, match=r"LanguageModel\.revision"):
        LanguageModel(engine="vllm", model="m", revision="")
