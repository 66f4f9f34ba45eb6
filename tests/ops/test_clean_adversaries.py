"""Whatever a model answers, from its own ways of failing to random edits: no corrupted formula passes."""

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.clean.config import LlmCleaner, Tolerance
from ops.clean.engines import Answer, Failure
from ops.clean.prompts import REWRITE
from tests.fakes.documents import document
from tests.fakes.engines import Scripted
from tests.ops.cleaned_pages import CONFIG, MARK, by_rules, clean


def swap(text: str) -> str:
    first, second = MARK.findall(text)[:2]
    return text.replace(first, "\0").replace(second, first).replace("\0", second)


def insert(text: str, addition: str) -> str:
    return text.replace("residues.", f"residues. {addition}")


ADVERSARIES: dict[str, tuple[Callable[[str], "str | Answer | Failure"], str]] = {
    "times out": (lambda text: Failure(reason="timed_out", detail="60 s"), "timed_out"),
    "returns nothing": (lambda text: " \n", "empty"),
    "stops in the middle of a formula's paragraph": (lambda text: text[:55], "shrunk"),
    "is cut off": (
        lambda text: Answer(text=text, finish_reason="length", tokens_in=1, tokens_out=1), "truncated"),
    "is filtered": (
        lambda text: Answer(text=text, finish_reason="content_filter", tokens_in=1, tokens_out=1), "unfinished"),
    "stops in the middle": (lambda text: text[: len(text) // 2], "unfinished"),
    "returns the prompt": (lambda text: REWRITE.replace("{example}", "⟦F1⟧"), "prompt_returned"),
    "returns the prompt, then the text": (lambda text: REWRITE + "\n" + text, "prompt_returned"),
    "says there is nothing, and goes on": (lambda text: text + "\n\nNO USEFUL CONTENT", "prompt_returned"),
    "says there is nothing": (lambda text: "NO USEFUL CONTENT", "formulas_dropped"),
    "chats before": (lambda text: "Sure! Here is the cleaned text:\n\n" + text, "chat"),
    "chats behind": (lambda text: text + "\n\nLet me know if you need anything else.", "chat"),
    "refuses": (lambda text: "I'm sorry, but I cannot help with that.", "chat"),
    "answers the question": (
        lambda text: text.replace("prime number?", "prime number? Its modulus equals the root, as Gauss showed."),
        "answered"),
    "answers in a paragraph": (
        lambda text: text.replace("prime number?", "prime number?\n\nExactly the root of that integer, always."),
        "answered"),
    "answers with a number": (lambda text: text.replace("prime number?", "prime number? 17"), "number_invented"),
    "swaps placeholders": (swap, "placeholder_moved"),
    "doubles a placeholder": (lambda text: text.replace("⟦F1⟧", "⟦F1⟧ ⟦F1⟧"), "placeholder_repeated"),
    "makes up a placeholder": (lambda text: insert(text, "See ⟦F7⟧."), "placeholder_invented"),
    "gives a code placeholder a formula's letter": (lambda text: text.replace("⟦B5⟧", "⟦F5⟧"), "placeholder_lost"),
    "takes another one's number": (lambda text: text.replace("⟦F1⟧", "⟦F3⟧"), "placeholder_repeated"),
    "adds a power": (lambda text: insert(text, "So p² holds."), "number_invented"),
    "puts formulas into other sentences": (
        lambda text: text.replace("of a charcter ⟦F1⟧ is written ⟦F2⟧, where", "⟦F1⟧ written of ⟦F2⟧ all"),
        "context_changed"),
    "replaces a placeholder": (lambda text: text.replace("⟦F1⟧", "$\\psi$"), "formula_invented"),
    "replaces a placeholder by words": (lambda text: text.replace("⟦F1⟧", "chi"), "placeholder_lost"),
    "loses a placeholder": (lambda text: text.replace("⟦F1⟧ ", ""), "placeholder_lost"),
    "breaks a placeholder": (lambda text: text.replace("⟦F1⟧", "⟦F1"), "placeholder_altered"),
    "spaces a placeholder": (lambda text: text.replace("⟦F1⟧", "⟦F 1⟧"), "placeholder_altered"),
    "escapes a placeholder": (lambda text: text.replace("⟦F1⟧", "\\⟦F1⟧"), "placeholder_hidden"),
    "quotes a placeholder as code": (lambda text: text.replace("⟦F1⟧", "`⟦F1⟧`"), "placeholder_hidden"),
    "wraps the answer in a fence": (lambda text: f"```markdown\n{text}\n```", "placeholder_hidden"),
    "glues placeholders": (lambda text: text.replace(" is written ", ""), "placeholder_hidden"),
    "pulls code into a sentence": (lambda text: text.replace("\n\n⟦B5⟧", " ⟦B5⟧"), "placeholder_hidden"),
    "injects a formula": (lambda text: insert(text, "So $a+b=c$ holds."), "formula_invented"),
    "injects display mathematics": (lambda text: insert(text, "\\[ a \\]"), "formula_invented"),
    "injects bare TeX": (lambda text: insert(text, "\\alpha"), "formula_invented"),
    "injects plain mathematics": (lambda text: insert(text, "Here a = b always."), "formula_invented"),
    "changes plain mathematics": (lambda text: text.replace("n = 3", "n = 4"), "number_invented"),
    "renames a plain variable": (lambda text: text.replace("n = 3", "m = 3"), "formula_invented"),
    "adds a number": (lambda text: insert(text, "There are 12 of them."), "number_invented"),
    "hallucinates": (
        lambda text: insert(text, "Elephants wander through dusty savannahs seeking refreshing water holes."),
        "words_invented"),
    "translates": (
        lambda text: "# Gaußsche Summen\n\nDie Gaußsche Summe eines Charakters ⟦F1⟧ schreibt man ⟦F2⟧, wobei man über "
        "alle Reste summiert.\n\n⟦F3⟧\n\nEinen Beweis liefert ⟦L4⟧. Die folgende Funktion berechnet sie.\n\n⟦B5⟧\n\n"
        "Welchen Betrag hat die Summe, falls ⟦F6⟧ eine ungerade Primzahl ist?", "context_changed"),
    "shuffles the words": (
        lambda text: " ".join(sorted(text.split(), key=lambda word: (MARK.search(word) is not None, word[::-1]))),
        "placeholder_moved"),
    "repeats itself": (lambda text: insert(text, "The sum runs over all residues and over all residues. " * 2),
        "repeats"),
    "loops": (lambda text: text + "\n\n" + "the reader may take both sides by hand, " * 5, "repeats"),
    "grows": (lambda text: text + "\n\n" + " ".join(re.findall(r"[a-z]{2,}", text)[::-1]), "grown"),
    "summarises": (lambda text: "\n\n".join(MARK.findall(text)), "shrunk"),
    "moves a paragraph": (
        lambda text: "The reader may take n = 3 and compare both sides by hand.\n\n"
        + text.replace("\n\nThe reader may take n = 3 and compare both sides by hand.", ""), "paragraph_moved"),
}  # fmt: skip


@pytest.mark.parametrize("name", ADVERSARIES)
def test_no_adversary_passes(name: str, tmp_path: Path) -> None:
    """The rule-cleaned text stands instead, and the reason is counted."""
    write, reason = ADVERSARIES[name]
    outcome, counts = clean(Scripted(write), tmp_path)
    assert (outcome.accepted_chunks, outcome.rejected_chunks) == (0, (reason,))
    assert outcome.document.text == by_rules()
    assert outcome.cleaner == "rules-1"
    assert counts == {}, "the last line of defence was not needed"


_WORDS = [
    *("The", "sum", "of", "all", "residues", "converges", "slowly.", "Then", "take", "both", "sides", "by", "hand,"),
    *(
        "compare;",
        "is",
        "it",
        "odd?",
        "Share",
        "on",
        "Facebook",
        "1999",
        "x",
        "=",
        "3",
        "\\$5",
        "-",
        ">",
        "#",
        "|",
        "`",
    ),
    *("⟦", "⟧", "⟦F1⟧", "costs", "naïve\u0301", "Γ", "\u200b", "\u1fef", "1.", "\\", "$", "\\\u200b", "$\u200b"),
]


_BLOCKS = ["\n", "\n\n", "\n\n", "```\ncode $x$\n```", "http://a.b/c", "[t](u)", "\n\n| a | b |\n| --- | --- |\n"]
_PROSE = st.lists(st.sampled_from([*_WORDS, *_BLOCKS]), min_size=1, max_size=8).map(" ".join)
_FORMULA = st.tuples(st.sampled_from(["x", "a_1", "\\frac{1}{2}", "\\text{a `c`}", "⟦F1⟧", "f(x)"]), st.booleans())
_DOCUMENTS = st.lists(st.one_of(_PROSE, _FORMULA), min_size=1, max_size=12).map(lambda pieces: document(*pieces))


def edit(text: str, generator: random.Random) -> str:
    """One random change: of marks, dollars, words, paragraphs."""
    marks = MARK.findall(text) or ["⟦F1⟧", "⟦F2⟧"]
    mark, other = generator.choice(marks), generator.choice(marks)
    place = generator.randrange(len(text) + 1)
    parts = text.split("\n\n")
    noise = generator.choice(["$", "$$", "\\", "`", "⟦", "⟧", " $q$ ", "\n\n", "    ", "\u200b"])
    edits: list[Callable[[], str]] = [
        lambda: text.replace(mark, ""),
        lambda: text.replace(mark, other),
        lambda: text.replace(mark, mark + mark),
        lambda: text.replace(mark, "\0").replace(other, mark).replace("\0", other),
        lambda: text[:place] + mark + text[place:],
        lambda: text[:place] + noise + text[place:],
        lambda: text.replace(mark, noise + mark),
        lambda: text.replace(mark, mark + noise),
        lambda: text[:place] + text[place + generator.randrange(8) :],
        lambda: "\n\n".join(generator.sample(parts, len(parts))),
        lambda: "\n\n".join(part for part in parts if generator.random() < 0.7),
        lambda: re.sub(r"\s+", " ", text),
        lambda: re.sub(r"\s*(⟦[^⟧]*⟧)\s*", r"\1", text),
        lambda: f"{text}\n\n{generator.choice(parts)}",
    ]
    return generator.choice(edits)()


def corruption(seed: int) -> Callable[[str], "str | Answer | Failure"]:
    """A model that edits at random, and sometimes does not answer or is cut off."""
    generator = random.Random(seed)

    def write(text: str) -> "str | Answer | Failure":
        for _ in range(generator.randrange(4)):
            text = edit(text, generator)
        if generator.random() < 0.05:
            return Failure(reason="timed_out", detail="")
        reason = "length" if generator.random() < 0.05 else "stop"
        return Answer(text=text, finish_reason=reason, tokens_in=1, tokens_out=1)

    return write


LOOSE = replace(
    CONFIG,
    tolerance=Tolerance(
        max_formulas_dropped=1.0, max_moved=1.0, max_growth=9.0, min_length=0.0, min_kept=0.0, max_new_words=1.0
    ),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_DOCUMENTS, st.integers(0, 2**32), st.sampled_from([CONFIG, LOOSE]), st.sampled_from([6, 20, 2000]))
def test_random_answers_never_corrupt_a_formula(
    tmp_path: Path, row: dict[str, Any], seed: int, config: LlmCleaner, limit: int
) -> None:
    """However loose the tolerance: `check_formulas` holds, with a reader of its own where the page allows one."""
    config = replace(config, chunk_tokens=max(16, limit), model=f"seed {seed}")
    clean(Scripted(corruption(seed)), tmp_path, row, config)


def test_the_property_test_sees_both_ends(tmp_path: Path) -> None:
    """Of the random answers some are taken and some rejected, for many reasons."""
    reasons: Counter[str] = Counter()
    for seed in range(150):
        outcome, _ = clean(Scripted(corruption(seed)), tmp_path, config=replace(CONFIG, model=f"seed {seed}"))
        reasons.update(outcome.rejected_chunks or ["accepted"])
    assert reasons["accepted"] >= 15
    assert len(reasons) >= 8
    assert sum(reasons.values()) == 150
