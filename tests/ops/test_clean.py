"""Cleaning by rules: they do what they say, leave formulas alone and change nothing twice."""

import re
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.clean.cleaner import clean_documents
from ops.clean.config import CleanConfig, RuleCleaner
from ops.clean.rules import Rules, normalize
from ops.errors import InputError
from ops.extract import extract_page
from tests.fakes.documents import check_formulas, document
from tests.ops.cleaned_pages import DOCUMENTS, PROSE, RULES, SAMPLE


def test_rules_drop_boilerplate_and_keep_the_rest() -> None:
    outcome = clean_documents(RULES, RULES, [SAMPLE])[0]
    assert outcome.document.text == (
        f"# Sums\n\n{PROSE} See $x_1 + y$ and `code $a$` at https://example.org/a_b.\n\n$$\\int f$$\n\n"
        "Then $a$ equals $b$, costing \\$5.\n\n```python\nx = 1\n\n\ny = 2\n```"
    )
    assert [paragraph.reason for paragraph in outcome.document.dropped] == ["boilerplate", "boilerplate"]
    assert outcome.cleaner == "rules-1"
    assert outcome.rejected is None
    check_formulas(SAMPLE, outcome)


@pytest.mark.parametrize(
    "line",
    [
        "We use cookies to give you the best experience.", "Accept all cookies", "Copyright © 2021 Somebody Inc.",
        "© 2020, The Authors. All rights reserved.", "Share on Facebook", "Tweet", "Share | Tweet | Email",
        "Previous", "« Previous | Next »", "Next: Integration by parts", "Home » Mathematics » Algebra",
        "Log in or register", "Skip to main content", "Back to top", "Page 3 of 12", "Powered by WordPress",
        "Last updated: 3 May 2020", "Please enable JavaScript to view this page.", "Advertisement", "Loading...",
        "index modules next previous", "Subscribe to our newsletter", "Edit this page on GitHub", "Read more",
        "## Table of contents", "- Share on Twitter", "Was this page helpful?", "Privacy policy | Terms | Contact",
    ],
)  # fmt: skip
def test_boilerplate_lines(line: str) -> None:
    row = document(f"{PROSE}\n\n{line}\n\n{PROSE} Again.")
    assert clean_documents(RULES, RULES, [row])[0].document.text == f"{PROSE}\n\n{PROSE} Again."


@pytest.mark.parametrize(
    "line",
    [
        "Next, we show that the sum converges.", "# Home", "## Index", "- Print", "x > y > z",
        "The previous page showed this.",
        "Search trees are balanced.", "Share prices follow a random walk.", "| Previous | Next |", "A | B | C",
        "Tags", "First", "The cookie jar contains 5 cookies.", "Top", "Parameters", "## Next steps",
        "Copyright law is old.",
    ],
)  # fmt: skip
def test_prose_is_not_boilerplate(line: str) -> None:
    row = document(f"{PROSE}\n\n{line}\n\n{PROSE} Again.")
    assert clean_documents(RULES, RULES, [row])[0].document.text == row["text"]


def test_boilerplate_with_a_formula_stays() -> None:
    row = document(f"{PROSE}\n\nCopyright 2020 ", ("x", False), "\n\nend")
    outcome = clean_documents(RULES, RULES, [row])[0]
    assert outcome.document.text == row["text"]


def test_repeated_lines_stay_once_and_headings_stay() -> None:
    row = document("\n\n".join([f"Rate this fine answer\n\nAnswer {number}\n\nReturns" for number in range(6)]))
    text = clean_documents(RULES, RULES, [row])[0].document.text
    assert text.count("Rate this fine answer") == 1
    assert text.count("Returns") == 6


def test_normalisation_leaves_formulas_and_code_alone() -> None:
    decomposed = "cafe\u0301"
    row = document(
        f"{decomposed}  a\u00a0b\u200b ", (f"\\text{{{decomposed}}}  x", False), f"\n\n```\n{decomposed}  \t\n```"
    )
    assert clean_documents(RULES, RULES, [row])[0].document.text == (
        f"café a b $\\text{{{decomposed}}}  x$\n\n```\n{decomposed}  \t\n```"
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (document("Short."), "too_short"),
        (document("0 1 2 3 4 5 6 7 8 9 | " * 20), "no_alphabet"),
        (document("\n\n".join(["The same paragraph, word by word."] * 10)), "repetition"),
        (document(PROSE * 2), None),
        (document("0 1 2 3 4 5 6 7 8 9 | " * 20, ("x", False)), None),
    ],
)
def test_whole_documents(row: dict[str, Any], reason: str | None) -> None:
    cleaner = Rules(RuleCleaner())
    assert clean_documents(cleaner, cleaner, [row])[0].document.drop_reason == reason


def test_text_that_looks_like_placeholders() -> None:
    row = document("A fake ⟦F0⟧ and ⟦xF1⟧ stay. ", ("y", False), " end ⟦")
    outcome = clean_documents(RULES, RULES, [row])[0]
    assert outcome.document.text == row["text"]
    check_formulas(row, outcome)


def test_config_is_checked() -> None:
    with pytest.raises(InputError, match="least_chars"):
        RuleCleaner(least_chars=0)
    with pytest.raises(InputError, match="most_duplicate"):
        RuleCleaner(most_duplicate=1.5)
    assert CleanConfig().llm is None


@settings(max_examples=400)
@given(DOCUMENTS)
def test_rules_keep_formulas_and_are_idempotent(row: dict[str, Any]) -> None:
    once = clean_documents(RULES, RULES, [row])[0]
    check_formulas(row, once)
    again_row = {**row, "text": once.document.text, "formulas": once.document.formulas}
    twice = clean_documents(RULES, RULES, [again_row])[0]
    assert twice.document.text == once.document.text
    assert twice.document.dropped == []
    assert twice.document.formulas == once.document.formulas


def test_extracted_page_through_the_rules() -> None:
    page = extract_page(
        r"<body><h1>Sums \(n\)</h1><p>" + PROSE + r" \[\sum_{i} i\]</p><ul><li>a \(b\)</li></ul><p>Previous</p></body>"
    )
    row = {"doc_id": "d", "title": page.title, "text": page.text, "formulas": [asdict(f) for f in page.formulas]}
    outcome = clean_documents(RULES, RULES, [row])[0]
    check_formulas(row, outcome)
    assert len(outcome.document.formulas) == 3
    assert outcome.document.text == page.text.removesuffix("\n\nPrevious")


PIECES = ["a", "B.", " ", "  ", "\t", "\n", "⟦F1⟧", "é", "e\u0301", "\u00a0", "\x00", "\r"]
PARAGRAPH = st.lists(st.sampled_from(PIECES), max_size=12)


@settings(max_examples=300)
@given(PARAGRAPH.map("".join))
def test_plain_paragraphs_are_normalised_as_all_are(paragraph: str) -> None:
    placeholder = re.compile(r"⟦F\d+⟧")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ops.clean.rules._is_plain", lambda text: False)
        expected = normalize(paragraph, placeholder)
    assert normalize(paragraph, placeholder) == expected
