"""Pages put to a model piece by piece: chunks, parts of long paragraphs, paragraphs to judge; each is accounted for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ops.clean.prompts import SELECT
from tests.fakes.documents import document
from tests.fakes.engines import Scripted
from tests.ops.cleaned_pages import CONFIG, MARK, PAGE, SHOP, by_rules, clean


def test_one_bad_chunk_costs_one_chunk(tmp_path: Path) -> None:
    engine = Scripted(lambda text: text.replace("residues.", "residues. $x$").replace(SHOP + "\n\n", ""))
    outcome, _ = clean(engine, tmp_path, config=replace(CONFIG, chunk_tokens=40))
    assert outcome.rejected_chunks == ("formula_invented",)
    assert outcome.accepted_chunks >= 2
    assert "charcter" in outcome.document.text
    assert SHOP not in outcome.document.text
    assert outcome.cleaner.startswith("rewrite-")


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
    "Words of a long paragraph, one after the other; they go on and on untill the very end. " * 3, ("z", False),
    " is the last of them.\n\nShort and sweet.\n\n" + "⟨glyph⟩" * 40,
)  # fmt: skip


def test_a_long_paragraph_is_put_to_the_model_in_pieces(tmp_path: Path) -> None:
    engine = Scripted(lambda text: text.replace("untill", "until"))
    outcome, _ = clean(engine, tmp_path, LONG, replace(CONFIG, chunk_tokens=20))
    assert all(len(text.split()) <= 20 for text in engine.asked)
    assert len(engine.asked) < outcome.num_chunks, "equal pieces are asked about once"
    assert outcome.document.text == LONG["text"].replace("untill", "until")
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
