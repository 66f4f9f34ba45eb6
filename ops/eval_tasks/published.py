"""Rows of evaluation sets in the fields in which they are published.

| fields                                          | sets                                        |
|-------------------------------------------------|---------------------------------------------|
| question, answer                                | GSM8K                                       |
| question, choices, gold                         | our own                                     |
| question, choices, answer (an index, a letter)  | MMLU                                        |
| question, choices (text, label), answerKey      | ARC, CommonsenseQA                          |
| question, options, correct (a letter)           | AQuA                                        |
| problem, solution or answer                     | MATH, AIME                                  |
| prompt, canonical_solution or code              | HumanEval, HumanEval+, MBPP+, MBPP sanitized |
| text, code                                      | MBPP                                        |
| Body, Question, Answer                          | SVAMP                                       |
"""

import re
from collections.abc import Mapping
from typing import Any

ANSWERED = (
    ("question", "answer"),
    ("problem", "solution"),
    ("problem", "answer"),
    ("prompt", "canonical_solution"),
    ("prompt", "code"),
    ("text", "code"),
)
KNOWN = ", ".join("/".join(fields) for fields in (*ANSWERED, ("question", "choices", "gold"), ("question", "options")))
_LETTERED = re.compile(r"\s*\(?([A-Z])[).:]\s*")


def read_row(row: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Question, choices and the index of the right one, as the row has them; None for a row of no known form."""
    question = row.get("question")
    if isinstance(question, str) and "choices" in row:
        choices = row["choices"]
        if isinstance(choices, dict):
            return question, choices.get("text"), _index(row.get("answerKey"), choices.get("label"))
        if "gold" in row:
            return question, choices, row["gold"]
        return question, choices, _index(row.get("answer"), None)
    if isinstance(question, str) and "options" in row:
        options, letters = row["options"], None
        if isinstance(options, list) and all(isinstance(each, str) and _LETTERED.match(each) for each in options):
            letters = [_LETTERED.match(each)[1] for each in options]  # pyright: ignore[reportOptionalSubscript]
            options = [_LETTERED.sub("", each, count=1) for each in options]
        return question, options, _index(row.get("correct"), letters)
    if isinstance(row.get("Question"), str) and isinstance(row.get("Body"), str):
        body = row["Body"].rstrip()
        stop = "" if body.endswith((".", "?", "!", ",")) else "."
        return f"{body}{stop} {row['Question']}", [_text(row.get("Answer"))], 0
    for field, answer in ANSWERED:
        if isinstance(row.get(field), str) and answer in row:
            return row[field], [_text(row[answer])], 0
    return None


def _index(key: Any, labels: Any) -> Any:
    """The index of a choice given by its label, or by its letter where there are no labels; others as they are."""
    if isinstance(labels, list) and key in labels:
        return labels.index(key)
    return ord(key) - ord("A") if isinstance(key, str) and len(key) == 1 and not labels else key


def _text(answer: Any) -> Any:
    """A number as people write it."""
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    return str(answer) if isinstance(answer, int | float) else answer
