"""Chunks: whole paragraphs or safe pieces of one, within the limit, and together the document."""

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ops.clean.chunks import Chunk, make_chunks, rename, runs
from ops.clean.document import ProtectedDocument, protect
from tests.fakes.documents import document


def count(texts: Any) -> list[int]:
    """Words and marks, as a tokenizer might."""
    return [len(re.findall(r"\w+|\S", text)) for text in texts]


def chunked(row: dict[str, Any], limit: int) -> tuple[ProtectedDocument, list[Chunk]]:
    shielded = protect(row["doc_id"], None, row["text"], row["formulas"])
    return shielded, make_chunks(shielded, list(enumerate(shielded.paragraphs)), limit, count)


def joined(shielded: ProtectedDocument, chunks: list[Chunk]) -> str:
    whole = ["".join((c.separator or "") + rename(c.text, c.names, shielded.placeholder) for c in run)
             for run in runs(chunks)]  # fmt: skip
    return "\n\n".join(whole)


def test_a_short_document_is_one_chunk_with_marks_of_its_own() -> None:
    row = document("Let ", ("a", False), " be odd.\n\nThen ", ("a^2", True), " is odd, see http://a.b/c")
    _, chunks = chunked(row, 1000)
    assert [chunk.text for chunk in chunks] == ["Let ⟦F1⟧ be odd.\n\nThen ⟦F2⟧ is odd, see ⟦L3⟧"]
    assert chunks[0].names == {"⟦F1⟧": "⟦F0⟧", "⟦F2⟧": "⟦F1⟧", "⟦L3⟧": "⟦L2⟧"}
    assert chunks[0].separator is None


def test_equal_text_is_the_same_question_wherever_it_stands() -> None:
    tail = ("and in the end ", ("x", False), " is all there is to it, as was to be shown here.")
    one = chunked(document("Short beginning. " * 8, "\n\n", *tail), 24)[1]
    two = chunked(document(("y", True), "\n\n", "Another beginning. " * 8, "\n\n", *tail), 24)[1]
    assert one[-1].text == two[-1].text
    assert one[-1].names != two[-1].names


def test_long_paragraphs_are_cut_at_lines_then_sentences_then_words() -> None:
    lines = "first line of it\nsecond line of it\nthird line of it"
    assert [c.text for c in chunked(document(lines), 9)[1]] == [
        "first line of it\nsecond line of it",
        "third line of it",
    ]
    sentences = "One is odd. Two is even! Is three odd? Four is even."
    assert [c.text for c in chunked(document(sentences), 9)[1]] == [
        "One is odd. Two is even!",
        "Is three odd? Four is even.",
    ]
    words = "word " * 19 + "end"
    assert [len(c.text.split()) for c in chunked(document(words), 9)[1]] == [5, 5, 5, 5]


def test_table_rows_and_formulas_are_never_cut() -> None:
    rows = "| a | b | c | d | e | f |\n| 1 | 2 | 3 | 4 | 5 | 6 |\n| 7 | 8 | 9 | 0 | 1 | 2 |"
    _, chunks = chunked(document(rows), 14)
    assert [chunk.text for chunk in chunks] == rows.split("\n")
    assert all(chunk.fits for chunk in chunks)
    _, chunks = chunked(document(rows), 10)
    assert [(chunk.text, chunk.fits) for chunk in chunks] == [(row, False) for row in rows.split("\n")]
    _, chunks = chunked(document(*[("x + y + z", False)] * 30), 20)
    assert [(len(chunk.names), chunk.fits) for chunk in chunks] == [(30, False)]


_TEXT = st.lists(
    st.one_of(
        st.sampled_from(["word", "longer-word", ". ", "? ", " ", " ", "\n", "\n\n", "\n\n", "| a | b |", "。", "汉字", "http://a.b/c",
                         "```\nx\n\ny\n```", "\n\n```\ncode\n```\n\n", "> ", "- "]),
        st.tuples(st.sampled_from(["x", "a + b\nc", "\\text{a. b}"]), st.booleans()),
    ),
    max_size=40,
).map(lambda pieces: document(*pieces))  # fmt: skip


@settings(max_examples=300)
@given(_TEXT, st.integers(4, 40))
def test_nothing_is_lost_or_cut_open(row: dict[str, Any], limit: int) -> None:
    shielded, chunks = chunked(row, limit)
    assert joined(shielded, chunks) == "\n\n".join(shielded.paragraphs)
    assert [index for run in runs(chunks) for index in run[0].paragraphs] == list(range(len(shielded.paragraphs)))
    for chunk in chunks:
        assert shielded.placeholder.findall(chunk.text) == list(chunk.names)
        assert not re.search(r"[⟦⟧]", shielded.placeholder.sub("", chunk.text))
        assert len(chunk.text.encode()) <= limit or not chunk.fits or count([chunk.text])[0] <= limit
        assert chunk.fits or (len(chunk.paragraphs) == 1 and count([chunk.text])[0] > limit)
