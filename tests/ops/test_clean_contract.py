"""The contract holds against any cleaner: formulas stand exactly, or the rules' text stands instead."""

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ops.clean.document as document_module
from ops.clean.cleaner import Cleaner, CleanerFailed, clean_documents
from ops.clean.document import Decision, FormulaMismatch, ProtectedDocument, Verdict, protect
from tests.fakes.documents import check_formulas, document
from tests.ops.cleaned_pages import DOCUMENTS, RULES, SAMPLE


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
    "returns nothing": (lambda each, index, text: "", "placeholder_lost"),
    "truncates": (lambda each, index, text: text[: len(text) // 2], "placeholder_lost"),
    "returns the prompt": (lambda each, index, text: "Clean this page. Keep all math.", "placeholder_lost"),
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_no_corrupted_formula_passes(name: str) -> None:
    rewrite, reason = ADVERSARIES[name]
    counts: Counter[str] = Counter()
    outcome = clean_documents(Fake(rewrite), RULES, [SAMPLE], counts)[0]
    check_formulas(SAMPLE, outcome)
    assert outcome.rejected == reason
    assert outcome.cleaner == "rules-1"
    assert counts == {f"rejected_{reason}": 1}
    assert outcome.document == clean_documents(RULES, RULES, [SAMPLE])[0].document


def test_a_cleaner_may_drop_everything() -> None:
    outcome = clean_documents(Fake(lambda each, index, text: None), RULES, [SAMPLE])[0]
    check_formulas(SAMPLE, outcome)
    assert outcome.rejected is None
    assert sorted(index for paragraph in outcome.document.dropped for index in paragraph.formulas) == [0, 1, 2, 3]


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


@settings(max_examples=200)
@given(DOCUMENTS, st.integers(0, 2**32))
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


LINKS = st.lists(
    st.sampled_from(["[", "]", "](", ")", "<", ">", "http", "https", "://", "a", ".", " ", "⟦"]), max_size=20
)


@settings(max_examples=400)
@given(LINKS.map("".join), st.integers(0, 20), st.integers(0, 40))
def test_links_are_those_of_the_pattern(text: str, position: int, length: int) -> None:
    end = min(len(text), position + length)
    expected = [match.span() for match in document_module._LINK.finditer(text, position, end)]
    assert document_module._links(text, position, end) == expected
