import hashlib
import random

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.errors import InputError
from ops.parts import write_rows
from ops.schema import CLEANED, SCORED
from ops.score.config import UNDETERMINED, ScoreConfig
from ops.score.excerpt import crop, take_apart
from ops.score.language import identify
from ops.score.quality import WEIGHTS, features, int_score, math_score
from ops.score.run import observe, run
from ops.stage import Execution
from tests.ops.test_minhash import scored_row

PROOF = r"""# The square root of two is irrational

We prove that no rational number has the square $2$. Suppose, for contradiction, that $\sqrt{2} = p/q$ for integers $p$
and $q$ without a common divisor. Then $p^2 = 2 q^2$, so $p^2$ is even, and therefore $p$ is even as well.

Let $p = 2r$. Substituting this into the equation we obtain

$$4 r^2 = 2 q^2, \qquad \text{hence} \qquad q^2 = 2 r^2.$$

It follows that $q$ is even too. Thus $p$ and $q$ have the common divisor $2$, which contradicts our assumption. The
same argument shows that $\sqrt{n}$ is irrational for every integer $n$ that is not a perfect square, because a prime
$\ell$ with odd exponent in the factorisation of $n$ plays the role of $2$.
"""
WORD_PROBLEM = """A baker sells 12 loaves in the morning and 8 loaves in the afternoon. Each loaf costs 3 dollars. How
much money does she earn in a day? First we add the loaves: 12 + 8 = 20. Then we multiply by the price: 20 * 3 = 60. So
she earns 60 dollars every day, because each of the 20 loaves brings 3 dollars.
"""
API = """numpy.ndarray.tofile

ndarray.tofile(fid, sep='', format='%s')

Write array to a file as text or binary (default).

Parameters

fid : file or str or Path
    An open file object, or a string containing a filename.
sep : str, optional
    Separator between array items for text output.
"""
MANUAL = """Open the settings and choose a network from the list. If the network is protected, the system asks for its
password. After the connection is made, an icon appears in the corner of the screen. Press it to see how strong the
signal is, and move closer to the router where it is weak. The device remembers every network that it has seen.
"""
LINKS = "\n".join(f"[Chapter {number}](https://example.org/math/{number})" for number in range(30))
GERMAN = """Wir zeigen, dass die Quadratwurzel aus zwei keine rationale Zahl ist. Angenommen, sie wäre ein Bruch.
Dann wäre das Quadrat des Zählers gerade, also auch der Zähler selbst, und es folgt ein Widerspruch: $p^2 = 2q^2$.
"""


def score_of(text: str) -> float:
    return math_score(take_apart(text))


def cleaned_row(index: int, text: str) -> dict:
    row = scored_row(index, text)
    row |= {"formulas": [], "dropped_paragraphs": [], "num_chunks": None, "rejected_chunks": None}
    return {name: row[name] for name in CLEANED.names}


def test_excerpt_takes_formulas_and_code_out_of_the_prose() -> None:
    text = "Let $x$ be\n\n$$y = x^2$$\n\n```python\ncost = '$5'\n```\n\nand `z$` or \\(w\\) or \\[v\\] end.\n"
    excerpt = take_apart(text)
    assert excerpt.formulas == ("x", "y = x^2", "w", "v")
    assert excerpt.num_display == 2
    assert excerpt.prose.split() == ["Let", "be", "and", "or", "or", "end."]
    assert excerpt.code_chars == len("```python\ncost = '$5'\n```") + len("`z$`")


def test_crop_keeps_the_middle() -> None:
    assert crop("abc", 3) == "abc"
    assert crop("0123456789", 4) == "3456"


def test_documents_rank_as_a_reader_would_rank_them() -> None:
    scores = [score_of(text) for text in (PROOF, WORD_PROBLEM, API, LINKS)]
    assert scores == sorted(scores, reverse=True)
    assert int_score(scores[0]) >= 4
    assert int_score(scores[1]) in (2, 3)
    assert int_score(scores[2]) <= 1
    assert int_score(score_of(MANUAL)) == 0
    assert int_score(score_of(LINKS)) == 0
    assert score_of("") == 0.0


def test_noise_lowers_the_score_and_formulas_raise_it() -> None:
    assert score_of(PROOF + "\n" + LINKS) < score_of(PROOF)
    assert score_of(PROOF + "\nHome\nAbout us\nLog in\n" * 20) < score_of(PROOF)
    assert score_of(PROOF.replace("$", "")) < score_of(PROOF)
    assert score_of(MANUAL + r" The signal falls as $1/r^2$, so $P = P_0 r^{-2}$.") > score_of(MANUAL)


@settings(max_examples=80)
@given(st.text(alphabet=st.sampled_from("ab 1.\n$\\^_{}`=()>[]:/-é"), max_size=200))
def test_features_and_scores_stay_in_range_for_any_text(text: str) -> None:
    values = features(take_apart(text))
    assert list(values) == list(WEIGHTS)
    assert all(0 <= value <= 1 for value in values.values())
    assert 0 <= score_of(text) <= 5
    assert score_of(text) == score_of(text)


@pytest.mark.parametrize(("score", "rounded"), [(0.0, 0), (0.4999, 0), (0.5, 1), (2.5, 3), (4.4, 4), (5.0, 5)])
def test_int_score_rounds_half_up(score: float, rounded: int) -> None:
    assert int_score(score) == rounded


def test_language_is_that_of_the_prose_alone() -> None:
    config = ScoreConfig()
    assert identify(take_apart(PROOF), config)[0] == "en"
    assert identify(take_apart(GERMAN), config)[0] == "de"
    english_code = "```\nthe quick brown fox jumps over the lazy dog and then it runs away\n```\n" * 5
    assert identify(take_apart(english_code + GERMAN), config)[0] == "de"
    assert identify(take_apart("$x^2 + y^2 = z^2$ and $a$"), config) == (UNDETERMINED, 0.0)
    assert identify(take_apart(GERMAN), ScoreConfig(min_language_score=1.0))[0] == UNDETERMINED


def test_language_id_works_without_a_network(monkeypatch) -> None:
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    language, score = identify(take_apart(PROOF), ScoreConfig())
    assert (language, score) == identify(take_apart(PROOF), ScoreConfig())
    assert score > 0.8
    assert len(observe(ScoreConfig(), Execution())["lid.176.ftz"]) == len(hashlib.sha256().hexdigest())


def test_run_drops_other_languages_and_low_scores_with_a_reason(tmp_path) -> None:
    texts = [PROOF, WORD_PROBLEM, API, MANUAL, GERMAN, "$x$"]
    rows = [cleaned_row(index, text) for index, text in enumerate(texts)]
    write_rows(tmp_path / "in" / "part-00000.parquet", rows, CLEANED)
    write_rows(tmp_path / "in" / "part-00001.parquet", [], CLEANED)
    result = run(ScoreConfig(min_int_score=2), {"cleaned": [tmp_path / "in"]}, tmp_path / "out", Execution())
    assert all(check.passed for check in result.checks)
    assert result.counts["in"] == 6
    assert result.dropped == {"language": 1, "below_min_score": result.counts["in"] - result.counts["out"] - 1}
    assert result.counts["language_de"] == 1
    assert sum(value for key, value in result.counts.items() if key.startswith("int_score_")) == 6
    table = pq.read_table(tmp_path / "out" / "part-00000.parquet")
    assert table.schema.equals(SCORED)
    assert table["text"].to_pylist()[0] == PROOF
    assert all(row["math_int_score"] == int_score(row["math_score"]) >= 2 for row in table.to_pylist())
    dropped = pq.read_table(tmp_path / "out" / "dropped" / "part-00000.parquet").to_pylist()
    assert {row["detail"].split()[0] for row in dropped if row["reason"] == "language"} == {"de"}
    assert pq.read_table(tmp_path / "out" / "part-00001.parquet").num_rows == 0


def test_run_keeps_everything_by_default_in_the_wanted_languages_and_resumes(tmp_path) -> None:
    generator = random.Random(0)
    for part in range(3):
        rows = [cleaned_row(10 * part + i, generator.choice([PROOF, API, MANUAL, GERMAN])) for i in range(5)]
        write_rows(tmp_path / "in" / f"part-{part:05d}.parquet", rows, CLEANED)
    inputs = {"cleaned": [tmp_path / "in"]}
    whole = run(ScoreConfig(), inputs, tmp_path / "whole", Execution())
    assert set(whole.dropped) == {"language"}
    run(ScoreConfig(), inputs, tmp_path / "killed", Execution())
    (tmp_path / "killed" / "marks" / "part-00001.json").unlink()
    (tmp_path / "killed" / "part-00001.parquet").write_bytes(b"torn")
    assert run(ScoreConfig(), inputs, tmp_path / "killed", Execution()) == whole
    for path in (tmp_path / "whole").rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "killed" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_long_documents_are_scored_by_their_middle_and_kept_whole(tmp_path) -> None:
    text = MANUAL * 100
    write_rows(tmp_path / "in" / "part-00000.parquet", [cleaned_row(0, text)], CLEANED)
    run(ScoreConfig(max_scored_chars=1000), {"cleaned": [tmp_path / "in"]}, tmp_path / "out", Execution())
    (row,) = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    assert row["text"] == text
    assert row["math_score"] == pytest.approx(score_of(crop(text, 1000)))


@pytest.mark.parametrize(
    ("field", "value"),
    [("languages", ()), ("min_language_score", 1.5), ("min_int_score", 6), ("max_scored_chars", 5), ("min_letters", 0)],
)
def test_config_names_the_wrong_field(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        ScoreConfig(**{field: value})  # type: ignore[arg-type]
