"""Documents as the cleaner gets them, and the independent check of what it made of them."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ops.clean.cleaner import Outcome
from ops.clean.document import formula_text

_CODE = re.compile(r"^[ >]*(`{3,})[^`\n]*$.*?^[ >]*\1[ ]*$|(?<!`)(`{1,2})(?!`)[^`\n]+?(?<!`)\2(?!`)", re.M | re.S)
_FORMULA = re.compile(r"(?<!\\)(\$\$?)(?!\$)(.+?)(?<!\\)\1", re.S)


def document(*pieces: "str | tuple[str, bool]") -> dict[str, Any]:
    """A row out of text and formulas: a tuple is (latex, display)."""
    text = ""
    formulas = []
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
            continue
        latex, display = piece
        formula = {"latex": latex, "display": display, "carrier": "test", "start": len(text), "end": 0}
        text += formula_text(formula)
        formulas.append({**formula, "end": len(text)})
    return {"doc_id": "d0", "title": None, "text": text, "formulas": formulas}


def check_formulas(row: Mapping[str, Any], outcome: Outcome) -> None:
    """Every formula is kept exactly, in order, where its offsets say, or listed as dropped. The independent check."""
    cleaned = outcome.document
    for formula in cleaned.formulas:
        assert cleaned.text[formula["start"] : formula["end"]] == formula_text(formula)
    listed = [row["formulas"][index] for paragraph in cleaned.dropped for index in paragraph.formulas]
    name = lambda formula: (formula["latex"], formula["display"])  # noqa: E731
    assert Counter(map(name, row["formulas"])) == Counter(map(name, cleaned.formulas)) + Counter(map(name, listed))
    kept = iter(map(name, row["formulas"]))
    assert all(name(formula) in kept for formula in cleaned.formulas), "formulas changed their order"
    assert scan(cleaned.text) == [formula_text(formula) for formula in cleaned.formulas] or not plain(row)


def plain(row: Mapping[str, Any]) -> bool:
    """Whether a reader who knows nothing but delimiters finds a row's formulas: so it is unless one holds a dollar or
    prose holds a bare one."""
    return scan(row["text"]) == [formula_text(formula) for formula in row["formulas"]]


def scan(text: str) -> list[str]:
    """Formulas of a text by their delimiters alone, code left out: a reader that shares nothing with the cleaner."""
    return [match.group() for match in _FORMULA.finditer(_CODE.sub("", text))]
