"""Cleaning with a model: what an editor does is taken, formulas go only within tolerance, the settings are identity."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.clean.cleaner import clean_documents
from ops.clean.config import CleanConfig, Sampling, Tolerance
from ops.clean.presets import phi4
from ops.clean.prompts import REWRITE, SELECT, digest
from ops.errors import InputError
from ops.identity import decode, encode, fingerprint
from tests.fakes.documents import document, plain
from tests.fakes.engines import Scripted, model
from tests.ops.cleaned_pages import CONFIG, MARK, PAGE, RULES, SHOP, clean


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
