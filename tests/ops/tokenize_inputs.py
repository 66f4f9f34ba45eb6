"""Texts for the tests of the stage tokenize, and its checks that failed."""

from ops.stage import Check, StageResult
from tests.ops.corpora import make_texts

EMPTY = (7, 30)  # documents without text
TEXTS = [
    "" if number in EMPTY else text + (" <|endoftext|> <|pad|>" if number == 3 else "")
    for number, text in enumerate(make_texts(90, seed=1))
]


def failed(result: StageResult) -> dict[str, Check]:
    return {check.name: check for check in result.checks if not check.passed}
