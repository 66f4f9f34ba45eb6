"""Cleaning with a model: whatever it answers, no corrupted formula passes, and every chunk is accounted for."""

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.clean.cleaner import Outcome, clean_documents
from ops.clean.config import CleanConfig, LlmCleaner, Sampling, Tolerance
from ops.clean.engines import Answer, Failure
from ops.clean.presets import phi4
from ops.clean.prompts import REWRITE, SELECT, digest
from ops.clean.rules import Rules
from ops.errors import InputError
from ops.identity import decode, encode, fingerprint
from tests.fakes.documents import check_formulas, document, plain
from tests.fakes.engines import LENIENT, Scripted, model

CONFIG = LlmCleaner(engine="endpoint", model="scripted", revision="1", chunk_tokens=2000)
RULES = Rules(LENIENT)
MARK = re.compile(r"⟦x*[A-Z]\d+⟧")

PAGE = document(
    "# Gauss sums\n\nThe Gauss sum of a charcter ", ("\\chi", False), " is written ", ("g(\\chi)", False),
    ", where the sum runs over all residues.\n\n", ("g(\\chi) = \\sum_a \\chi(a) \\zeta^a", True),
    "\n\nFor a proof see [the notes](https://example.org/notes). The function below computes it for small moduli.\n\n"
    "```python\ndef gauss(p):\n    return sum(zeta ** a for a in range(p))  # costs $p$ steps\n```\n\n"
    "Popular in the shop this week: mugs, shirts and posters for every taste.\n\n"
    "What is the absolute value of the sum if ", ("p", False), " is an odd prime number?\n\n"
    "The reader may take n = 3 and compare both sides by hand.",
)  # fmt: skip
SHOP = "Popular in the shop this week: mugs, shirts and posters for every taste."


def clean(
    engine: Scripted, folder: Path, row: dict[str, Any] = PAGE, config: LlmCleaner = CONFIG
) -> tuple[Outcome, Counter[str]]:
    counts: Counter[str] = Counter()
    outcome = clean_documents(model(engine, folder, config), RULES, [row], counts)[0]
    check_formulas(row, outcome)
    assert outcome.num_chunks == outcome.accepted_chunks + len(outcome.rejected_chunks)
    return outcome, counts


def by_rules(row: dict[str, Any] = PAGE) -> str:
    return clean_documents(RULES, RULES, [row])[0].document.text


def test_the_page_is_one_that_the_independent_reader_can_read() -> None:
    assert plain(PAGE)


def test_a_faithful_answer_is_taken(tmp_path: Path) -> None:
    """A typo corrected, boilerplate left out: the paragraph is listed, every formula stands."""
    engine = Scripted(lambda text: text.replace("charcter", "character").replace(SHOP + "\n\n", ""))
    outcome, counts = clean(engine, tmp_path)
    assert outcome.document.text == PAGE["text"].replace("charcter", "character").replace(SHOP + "\n\n", "")
    assert [(each.reason, each.text) for each in outcome.document.dropped] == [("model", SHOP)]
    assert len(outcome.document.formulas) == len(PAGE["formulas"])
    assert (outcome.num_chunks, outcome.accepted_chunks, counts) == (1, 1, {})
    assert outcome.cleaner == f"rewrite-endpoint-scripted@1-{digest(REWRITE)}"


def test_a_model_sees_no_formula_no_code_no_link(tmp_path: Path) -> None:
    engine = Scripted()
    clean(engine, tmp_path)
    (asked,) = engine.asked
    assert not re.search(r"\$|\\|`|https?:|def gauss", asked)
    assert MARK.findall(asked) == ["⟦F1⟧", "⟦F2⟧", "⟦F3⟧", "⟦L4⟧", "⟦B5⟧", "⟦F6⟧"]


def test_paragraphs_may_be_joined_and_parted(tmp_path: Path) -> None:
    joined = Scripted(lambda text: text.replace("residues.\n\n", "residues. ").replace("notes). The", "notes).\n\nThe"))
    outcome, _ = clean(joined, tmp_path)
    assert outcome.accepted_chunks == 1
    assert "residues. $$g(\\chi)" in outcome.document.text
    assert outcome.document.dropped == []


BENIGN: dict[str, Callable[[str], str]] = {
    "adds white space": lambda text: f"\n  {text}\n\n\n",
    "sets quotes and dashes": lambda text: text.replace("'", "’").replace('"', "“").replace("-", "–"),
    "deepens headings": lambda text: text.replace("# ", "## "),
    "sets headings bold": lambda text: text.replace("# Gauss sums", "# **Gauss sums**"),
    "changes bullets": lambda text: text.replace("- ", "* "),
    "numbers a list": lambda text: text.replace("- ", "1. "),
    "parts a list from its sentence": lambda text: text.replace("cases:\n", "cases:\n\n"),
    "unwraps a line": lambda text: text.replace("moduli\nand", "moduli and"),
    "corrects misspelt words": lambda text: text.replace("charcter", "character").replace("resdiues", "residues"),
    "takes out a space": lambda text: text.replace("it , too", "it, too"),
    "leaves out boilerplate": lambda text: text.replace(SHOP + "\n\n", ""),
}
MESSY = document(
    "# Gauss sums\n\nThe Gauss sum of a charcter ", ("\\chi", False), " isn't \"large\": it runs over resdiues.\n\n",
    ("g(\\chi)", True), "\n\nA well-known function my_sum(x, start=1) computes it for moduli\nand prints it , too. "
    f"Two cases:\n- the modulus is odd\n- the modulus is even\n\n{SHOP}\n\nWhat if x = 5? Then nothing is left to show."
)  # fmt: skip


@pytest.mark.parametrize("name", BENIGN)
def test_editing_is_taken(name: str, tmp_path: Path) -> None:
    """The other side of the contract: what an editor does is not rejected."""
    outcome, _ = clean(Scripted(BENIGN[name]), tmp_path, MESSY)
    assert outcome.rejected_chunks == ()
    assert len(outcome.document.formulas) == 2
    given = Scripted()
    clean(given, tmp_path / "echo", MESSY)
    assert name == "adds white space" or BENIGN[name](given.asked[0]) != given.asked[0], "the edit is one"


def swap(text: str) -> str:
    first, second = MARK.findall(text)[:2]
    return text.replace(first, "\0").replace(second, first).replace("\0", second)


def insert(text: str, addition: str) -> str:
    return text.replace("residues.", f"residues. {addition}")


ADVERSARIES: dict[str, tuple[Callable[[str], "str | Answer | Failure"], str]] = {
    "times out": (lambda text: Failure(reason="timed_out", detail="60 s"), "timed_out"),
    "returns nothing": (lambda text: " \n", "empty"),
    "stops in the middle of a formula's paragraph": (lambda text: text[:55], ""),
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
        "Welchen Betrag hat die Summe, falls ⟦F6⟧ eine ungerade Primzahl ist?", ""),
    "shuffles the words": (
        lambda text: " ".join(sorted(text.split(), key=lambda word: (MARK.search(word) is not None, word[::-1]))),
        "placeholder_"),
    "repeats itself": (lambda text: insert(text, "The sum runs over all residues and over all residues. " * 2), ""),
    "loops": (lambda text: text + "\n\n" + "the reader may take both sides by hand, " * 5, "repeats"),
    "grows": (lambda text: text + "\n\n" + " ".join(f"all over the {word}" for word in text.split()[:40]), ""),
    "summarises": (lambda text: "\n\n".join(MARK.findall(text)), ""),
    "moves a paragraph": (
        lambda text: "The reader may take n = 3 and compare both sides by hand.\n\n"
        + text.replace("\n\nThe reader may take n = 3 and compare both sides by hand.", ""), "paragraph_moved"),
}  # fmt: skip


@pytest.mark.parametrize("name", ADVERSARIES)
def test_no_adversary_passes(name: str, tmp_path: Path) -> None:
    """The rule-cleaned text stands instead, and the reason is counted."""
    write, reason = ADVERSARIES[name]
    outcome, counts = clean(Scripted(write), tmp_path)
    assert outcome.accepted_chunks == 0
    assert outcome.rejected_chunks[0].startswith(reason)
    assert outcome.document.text == by_rules()
    assert outcome.cleaner == "rules-1"
    assert counts == {}, "the last line of defence was not needed"


def test_one_bad_chunk_costs_one_chunk(tmp_path: Path) -> None:
    config = replace(CONFIG, chunk_tokens=40, prompt=CONFIG.prompt)
    engine = Scripted(lambda text: insert(text, "$x$") if "residues" in text else text.replace(SHOP + "\n\n", ""))
    outcome, _ = clean(engine, tmp_path, config=config)
    assert outcome.rejected_chunks == ("formula_invented",)
    assert outcome.accepted_chunks >= 2
    assert "charcter" in outcome.document.text
    assert SHOP not in outcome.document.text
    assert outcome.cleaner.startswith("rewrite-")


def test_formulas_may_go_with_their_paragraph_within_tolerance(tmp_path: Path) -> None:
    def drop(text: str) -> str:
        return "\n\n".join(part for part in text.split("\n\n") if "absolute value" not in part)

    outcome, _ = clean(Scripted(drop), tmp_path, config=replace(CONFIG, tolerance=Tolerance(max_formulas_dropped=0.3)))
    assert outcome.accepted_chunks == 1
    assert [paragraph.formulas for paragraph in outcome.document.dropped] == [(3,)]
    outcome, _ = clean(Scripted(drop), tmp_path, config=replace(CONFIG, tolerance=Tolerance(max_formulas_dropped=0.1)))
    assert outcome.rejected_chunks == ("formulas_dropped",)


def test_moving_within_tolerance(tmp_path: Path) -> None:
    config = replace(CONFIG, tolerance=Tolerance(max_moved=0.5))
    row = document("Both ", ("a", False), " and ", ("b", False), " are small, and so is the third one.")
    other = Scripted(lambda text: text.replace("⟦F1⟧", "\0").replace("⟦F2⟧", "⟦F1⟧").replace("\0", "⟦F2⟧"))
    outcome, _ = clean(other, tmp_path, row)
    assert outcome.rejected_chunks == ("placeholder_moved",)
    counts: Counter[str] = Counter()
    outcome = clean_documents(model(other, tmp_path, config), RULES, [row], counts, max_moved=0.5)[0]
    assert outcome.document.text.startswith("Both $b$ and $a$ are")
    assert [formula["index"] for formula in outcome.document.formulas] == [1, 0]


def test_a_page_without_content_is_dropped(tmp_path: Path) -> None:
    row = document("Mugs for every taste.\n\nShirts and posters, too.")
    outcome, _ = clean(Scripted(lambda text: "No useful content."), tmp_path, row)
    assert outcome.document.drop_reason == "no_useful_content"
    assert outcome.accepted_chunks == 1


def test_text_that_looks_like_placeholders(tmp_path: Path) -> None:
    row = document("The marks ⟦F1⟧ and ⟦F2⟧ are the author's own words, ", ("y", False), " is not. ⟦ ⟧")
    engine = Scripted()
    outcome, _ = clean(engine, tmp_path, row)
    assert outcome.document.text == row["text"]
    assert MARK.findall(engine.asked[0])[-1] == "⟦xF1⟧"
    outcome, _ = clean(Scripted(lambda text: text.replace("⟦xF1⟧", "⟦F1⟧")), tmp_path / "2", row)
    assert outcome.rejected_chunks == ("placeholder_altered",)


def test_what_the_rules_drop_is_never_asked_about(tmp_path: Path) -> None:
    row = document(PAGE["text"][:12] + "\n\nPrevious | Next\n\nSome words that stay where they are.")
    engine = Scripted()
    clean(engine, tmp_path, row)
    assert engine.asked == ["# Gauss sums\n\nSome words that stay where they are."]


SELECT_CONFIG = replace(CONFIG, mode="select", prompt=SELECT)


def test_select_drops_what_scores_low_and_writes_nothing(tmp_path: Path) -> None:
    engine = Scripted(judge=lambda paragraph: -1.0 if "shop" in paragraph else 1.0)
    outcome, counts = clean(engine, tmp_path, config=SELECT_CONFIG)
    assert outcome.document.text == by_rules().replace(SHOP + "\n\n", "")
    assert [(each.reason, each.text) for each in outcome.document.dropped] == [("model", SHOP)]
    assert counts == {}
    # A formula or a code block by itself has no words to be judged by.
    assert outcome.num_chunks == outcome.accepted_chunks == 6
    assert not any(MARK.fullmatch(paragraph) for paragraph in engine.asked)


def test_select_does_not_drop_formulas_beyond_tolerance(tmp_path: Path) -> None:
    outcome, _ = clean(Scripted(judge=lambda paragraph: -1.0), tmp_path, config=SELECT_CONFIG)
    assert len(outcome.document.formulas) == len(PAGE["formulas"])
    assert outcome.rejected_chunks == ("formulas_dropped", "formulas_dropped")
    assert SHOP not in outcome.document.text


LONG = document(
    "Words of a long paragraph, one after the other; they go on and on until the very end. " * 3, ("z", False),
    " is the last of them.\n\nShort and sweet.\n\n" + "⟨glyph⟩" * 40,
)  # fmt: skip


def test_a_long_paragraph_is_put_to_the_model_in_pieces(tmp_path: Path) -> None:
    engine = Scripted(lambda text: text.replace("the other", "the othre") if "⟦" in text else text)
    config = replace(CONFIG, chunk_tokens=20)
    outcome, _ = clean(engine, tmp_path, LONG, config)
    assert all(len(text.split()) <= 20 for text in engine.asked)
    assert len(engine.asked) < outcome.num_chunks, "equal pieces are asked about once"
    assert outcome.document.text == LONG["text"]
    assert outcome.rejected_chunks == ()


def test_one_rejected_piece_leaves_the_others(tmp_path: Path) -> None:
    engine = Scripted(lambda text: "NO USEFUL CONTENT" if "⟦" in text else text.replace("very end", "very  end"))
    outcome, _ = clean(engine, tmp_path, LONG, replace(CONFIG, chunk_tokens=20))
    assert outcome.rejected_chunks == ("part_dropped",)
    assert outcome.document.text == LONG["text"]


def test_what_cannot_be_cut_is_not_asked_about_and_counted(tmp_path: Path) -> None:
    class Bytes(Scripted):
        def count_tokens(self, texts: Sequence[str]) -> list[int]:
            return [len(text) for text in texts]

    engine = Bytes()
    outcome, _ = clean(engine, tmp_path, LONG, replace(CONFIG, chunk_tokens=100))
    assert outcome.rejected_chunks == ("too_long",)
    assert not any("glyph" in text for text in engine.asked)
    assert outcome.document.text == LONG["text"]


def test_select_shows_the_head_of_a_long_paragraph(tmp_path: Path) -> None:
    engine = Scripted(judge=lambda paragraph: -1.0 if "one after the other" in paragraph else 1.0)
    outcome, _ = clean(engine, tmp_path, LONG, replace(SELECT_CONFIG, chunk_tokens=20))
    assert sorted(map(len, map(str.split, engine.asked)))[-1] <= 20
    assert outcome.rejected_chunks == ("formulas_dropped",), "the only formula of the page stays"
    assert outcome.num_chunks == 3


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


def test_identity() -> None:
    config = CleanConfig(llm=phi4())
    assert decode(CleanConfig, encode(config)) == config
    assert config.llm is not None
    assert (config.llm.sampling.temperature, config.llm.sampling.top_p, config.llm.sampling.top_k) == (0.7, 0.8, 20)
    others = [
        replace(config.llm, model="other"),
        replace(config.llm, revision="other"),
        replace(config.llm, prompt=config.llm.prompt + "."),
        replace(config.llm, sampling=Sampling(seed=1)),
        replace(config.llm, mode="select", prompt=SELECT),
    ]
    assert len({fingerprint(each) for each in [config.llm, *others]}) == 6


@pytest.mark.parametrize(
    ("field", "value"),
    [("revision", ""), ("prompt", "Clean this."), ("chunk_tokens", 1)],
)
def test_config_is_checked(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=field):
        replace(CONFIG, **{field: value})
    with pytest.raises(InputError, match="temperature"):
        Sampling(temperature=-1.0)
    with pytest.raises(InputError, match="max_growth"):
        Tolerance(max_growth=0.5)
