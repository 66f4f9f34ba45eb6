"""Cleaning: the contract holds against any cleaner, the rules do what they say and change nothing twice."""

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ops.clean.document as document_module
from ops.clean.cleaner import Cleaner, CleanerFailed, clean_documents
from ops.clean.config import CleanConfig, RuleCleaner
from ops.clean.document import Decision, FormulaMismatch, ProtectedDocument, Verdict, protect
from ops.clean.rules import Rules, normalize
from ops.errors import InputError
from ops.extract import extract_page
from tests.fakes.documents import check_formulas, document

RULES = Rules(RuleCleaner(least_chars=1, least_alphabetic=0.0))
PROSE = "The derivative of a sum is the sum of the derivatives, whatever the functions may be."


SAMPLE = document(
    f"# Sums\n\n{PROSE} See ", ("x_1 + y", False), " and `code $a$` at https://example.org/a_b.\n\n", ("\\int f", True),
    "\n\nPrevious | Next\n\nThen ", ("a", False), " equals ", ("b", False), ", costing \\$5.\n\n"
    "```python\nx = 1\n\n\ny = 2\n```\n\nThis site uses cookies to improve your experience.",
)  # fmt: skip


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


class Fake:
    """A cleaner that rewrites each paragraph by a function of (placeholder pattern, text)."""

    name = "fake"
    version = "0"

    def __init__(self, rewrite: Callable[[ProtectedDocument, int, str], str | None]) -> None:
        self.rewrite = rewrite

    def clean(self, documents: Sequence[ProtectedDocument]) -> list[Verdict]:
        verdicts = []
        for each in documents:
            texts = [self.rewrite(each, index, text) for index, text in enumerate(each.paragraphs)]
            verdicts.append(
                Verdict(decisions=tuple(Decision(keep=text is not None, text=text, reason="fake") for text in texts))
            )
        return verdicts


def swap(each: ProtectedDocument, index: int, text: str) -> str:
    names = each.placeholder.findall(text)
    if len(names) < 2:
        return text
    return text.replace(names[0], "\0").replace(names[1], names[0]).replace("\0", names[1])


ADVERSARIES: dict[str, tuple[Callable[[ProtectedDocument, int, str], str | None], str]] = {
    "loses placeholders": (lambda each, index, text: each.placeholder.sub("", text) + " x", "placeholder_lost"),
    "writes the formula itself": (
        lambda each, index, text: each.placeholder.sub(lambda match: each.spans[match.group()].text, text),
        "placeholder_lost",
    ),
    "writes a wrong formula": (lambda each, index, text: each.placeholder.sub("$x_2 + y$", text), "placeholder_lost"),
    "doubles placeholders": (
        lambda each, index, text: each.placeholder.sub(lambda match: match.group() * 2, text),
        "placeholder_repeated",
    ),
    "renumbers": (lambda each, index, text: re.sub(r"\d+⟧", "77⟧", text), "placeholder_lost"),
    "swaps": (swap, "placeholder_moved"),
    "adds a placeholder of another paragraph": (lambda each, index, text: text + " ⟦F0⟧", "placeholder_invented"),
    "makes up a placeholder": (lambda each, index, text: text + " ⟦F99⟧", "placeholder_invented"),
    "breaks a placeholder": (lambda each, index, text: text + " ⟦F 0⟧", "placeholder_altered"),
    "invents an inline formula": (lambda each, index, text: text + " so $E = mc^2$.", "formula_invented"),
    "invents a display formula": (lambda each, index, text: text + "\n\\[E = mc^2\\]", "formula_invented"),
    "invents an environment": (lambda each, index, text: text + " \\begin{align}x\\end{align}", "formula_invented"),
    "invents bare TeX": (lambda each, index, text: text + " thus \\frac{1}{2}", "formula_invented"),
    "frees a dollar": (lambda each, index, text: text.replace("\\$", "$"), "formula_invented"),
    "hallucinates": (lambda each, index, text: text + " and so on" * 100, "grown"),
    "escapes a formula": (lambda each, index, text: text.replace("⟦F", "\\⟦F"), "placeholder_hidden"),
    "makes formulas code": (lambda each, index, text: each.placeholder.sub(r"`\g<0>`", text), "placeholder_hidden"),
    "comments formulas out": (lambda each, index, text: f"<!-- {text} -->", "placeholder_hidden"),
    "glues formulas together": (lambda each, index, text: text.replace("⟧ equals ⟦", "⟧⟦"), "placeholder_hidden"),
    "puts code into a sentence": (lambda each, index, text: text.replace("⟦B", "So ⟦B"), "placeholder_hidden"),
    "returns nothing": (lambda each, index, text: "", ""),
    "drops everything": (lambda each, index, text: None, ""),
    "truncates": (lambda each, index, text: text[: len(text) // 2], "placeholder_lost"),
    "returns the prompt": (lambda each, index, text: "Clean this page. Keep all math.", "placeholder_lost"),
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_no_corrupted_formula_passes(name: str) -> None:
    rewrite, reason = ADVERSARIES[name]
    counts: Counter[str] = Counter()
    outcome = clean_documents(Fake(rewrite), RULES, [SAMPLE], counts)[0]
    check_formulas(SAMPLE, outcome)
    if name in ("drops everything",):
        assert outcome.rejected is None
        assert sorted(index for paragraph in outcome.document.dropped for index in paragraph.formulas) == [0, 1, 2, 3]
        return
    assert outcome.rejected is not None
    assert outcome.cleaner == "rules-1"
    assert counts == {f"rejected_{outcome.rejected}": 1}
    if reason:
        assert outcome.rejected == reason
    assert outcome.document == clean_documents(RULES, RULES, [SAMPLE])[0].document


def test_a_cleaner_may_rewrite_around_placeholders() -> None:
    outcome = clean_documents(Fake(lambda each, index, text: text.replace("Then", "Next")), RULES, [SAMPLE])[0]
    assert outcome.cleaner == "fake-0"
    assert "Next $a$ equals $b$" in outcome.document.text
    check_formulas(SAMPLE, outcome)


class Broken:
    name = "broken"
    version = "0"

    def __init__(self, answer: "list[Verdict] | None") -> None:
        self.answer = answer

    def clean(self, documents: Sequence[ProtectedDocument]) -> list[Verdict]:
        if self.answer is None:
            raise CleanerFailed("time-out")
        return self.answer


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (Broken(None), "cleaner_failed"),
        (Broken([]), "verdict_count"),
        (Broken([Verdict(decisions=(Decision(keep=True),))]), "paragraph_count"),
    ],
)
def test_broken_cleaners(broken: Cleaner, reason: str) -> None:
    counts: Counter[str] = Counter()
    outcome = clean_documents(broken, RULES, [SAMPLE], counts)[0]
    assert (outcome.rejected, counts) == (reason, {f"rejected_{reason}": 1})
    check_formulas(SAMPLE, outcome)


def test_offsets_that_lie_are_refused() -> None:
    row = document("a ", ("x", False))
    row["formulas"][0]["start"] -= 1
    with pytest.raises(FormulaMismatch, match="d0"):
        protect("d0", None, row["text"], row["formulas"])


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


_WORDS = st.sampled_from(
    ["word", "Next", "Previous", " ", "  ", "\n", "\n\n", "- ", "> ", "# ", "| ", "`", "``", "```", "```\n", "\n```\n",
     "e\u0301", "\u0301", "\u00a0", "\u200b", "⟦", "⟧", "⟦F0⟧", "\\$", "http://a.b/c", "[t](u)", "Share on Facebook",
     "Rate this fine answer", "1. ", "\t", "\x85", "\u2028", "A", "ﬁ", "(", ")", "<", ".", "a > b"]
)  # fmt: skip
_FORMULAS = st.tuples(
    st.sampled_from(
        ["x", "a_1", "\\frac{1}{2}", "a\nb", "|x|", "e\u0301  y", "\\text{`c`}", "⟦F0⟧", "f(x), http://a.b"]
    ),
    st.booleans(),
)
_DOCUMENTS = st.lists(st.one_of(_WORDS, _WORDS, _FORMULAS), max_size=30).map(lambda pieces: document(*pieces))


@settings(max_examples=400)
@given(_DOCUMENTS)
def test_rules_keep_formulas_and_are_idempotent(row: dict[str, Any]) -> None:
    once = clean_documents(RULES, RULES, [row])[0]
    check_formulas(row, once)
    again_row = {**row, "text": once.document.text, "formulas": once.document.formulas}
    twice = clean_documents(RULES, RULES, [again_row])[0]
    assert twice.document.text == once.document.text
    assert twice.document.dropped == []
    assert twice.document.formulas == once.document.formulas


@settings(max_examples=200)
@given(_DOCUMENTS, st.integers(0, 2**32))
def test_random_corruption_never_passes(row: dict[str, Any], seed: int) -> None:
    generator = random.Random(seed)

    def corrupt(each: ProtectedDocument, index: int, text: str) -> str | None:
        if generator.random() < 0.2:
            return None
        characters = list(text)
        for _ in range(generator.randrange(4)):
            if characters:
                characters[generator.randrange(len(characters))] = generator.choice(["", "$", "⟦", "F", "0", "x", "⟧"])
        return "".join(characters)

    outcome = clean_documents(Fake(corrupt), RULES, [row])[0]
    check_formulas(row, outcome)


def test_extracted_page_through_the_rules() -> None:
    page = extract_page(
        r"<body><h1>Sums \(n\)</h1><p>" + PROSE + r" \[\sum_{i} i\]</p><ul><li>a \(b\)</li></ul><p>Previous</p></body>"
    )
    row = {"doc_id": "d", "title": page.title, "text": page.text, "formulas": [asdict(f) for f in page.formulas]}
    outcome = clean_documents(RULES, RULES, [row])[0]
    check_formulas(row, outcome)
    assert len(outcome.document.formulas) == 3
    assert outcome.document.text == page.text.removesuffix("\n\nPrevious")


LINKS = st.lists(
    st.sampled_from(["[", "]", "](", ")", "<", ">", "http", "https", "://", "a", ".", " ", "⟦"]), max_size=20
)


@settings(max_examples=400)
@given(LINKS.map("".join), st.integers(0, 20), st.integers(0, 40))
def test_links_are_those_of_the_pattern(text: str, position: int, length: int) -> None:
    end = min(len(text), position + length)
    expected = [match.span() for match in document_module._LINK.finditer(text, position, end)]
    assert document_module._links(text, position, end) == expected


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
