"""The trained quality classifier: exact against a dense solver, better than chance on what it has not seen."""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from ops.errors import InputError
from ops.quality import FileLabels, ProvenanceLabels, QualityConfig, SourceScore
from ops.quality.features import Sparse, tokens_of, vectors
from ops.quality.model import fit, load_model
from ops.quality.run import measures, observe, run
from ops.schema import CLEANED
from ops.score.config import ScoreConfig
from ops.score.run import run as run_score
from ops.stage import Execution
from tests.ops.corpora import make_texts

PROSE = re.findall(r"\S+", "The shop sells shoes and bags. Delivery takes three days. Sign in to order.")


def pages(count: int) -> list[dict]:
    """Half mathematics, half shop pages, and some of both; the score is the share of mathematics."""
    rng = random.Random(0)
    mathematics = make_texts(count, seed=5, sentences=30)
    rows = []
    for number in range(count):
        share = rng.choice([0, 1, 2, 3, 4, 5])
        words = mathematics[number].split()
        text = " ".join(rng.choice(words) if rng.random() < share / 5 else rng.choice(PROSE) for _ in range(200))
        rows.append(
            {"doc_id": f"{number:016x}", "url": f"https://s{share}.example/{number}", "text": text, "score": share}
        )
    return rows


def cleaned(folder: Path, rows: list[dict]) -> Path:
    def filler(kind: pa.DataType) -> object:
        if pa.types.is_list(kind):
            return []
        return 0 if pa.types.is_integer(kind) else 0.0 if pa.types.is_floating(kind) else "x"

    required = {field.name: filler(field.type) for field in CLEANED if not field.nullable}
    full = [{**required, **{name: row[name] for name in ("doc_id", "url", "text")}} for row in rows]
    folder.mkdir()
    for number, part in enumerate((full[: len(full) // 2], full[len(full) // 2 :])):
        pq.write_table(pa.Table.from_pylist(part, schema=CLEANED), folder / f"part-{number:05d}.parquet")
    return folder


def test_tokens() -> None:
    assert tokens_of(r"Let $\Alpha_{12} = 3$, naïve!") == [
        "let", "$", "\\alpha", "_", "{", "0", "}", "=", "0", "$", ",", "naïve", "!"
    ]  # fmt: skip


def test_products_and_the_solution_are_those_of_dense_algebra() -> None:
    texts = make_texts(40, seed=2)
    sparse = vectors(texts, 64, 20_000)
    dense = np.zeros((40, 64))
    for row in range(40):
        span = slice(sparse.starts[row], sparse.starts[row + 1])
        dense[row, sparse.columns[span]] = sparse.values[span]
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1, rtol=1e-12)
    rng = np.random.default_rng(0)
    weights, rows = rng.normal(size=64), rng.normal(size=40)
    np.testing.assert_allclose(sparse.times(weights), dense @ weights, atol=1e-12)
    np.testing.assert_allclose(sparse.transposed_times(rows, 64), dense.T @ rows, atol=1e-12)
    found, bias = fit(sparse, rows, 64, 0.3)
    expected = np.linalg.solve(dense.T @ dense + 0.3 * np.eye(64), dense.T @ (rows - rows.mean()))
    assert bias == pytest.approx(rows.mean())
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_texts_without_a_token_have_no_features() -> None:
    sparse = vectors(["", "a b", " "], 64, 1000)
    assert isinstance(sparse, Sparse)
    assert np.diff(sparse.starts)[[0, 2]].tolist() == [0, 0]
    assert sparse.times(np.ones(64))[[0, 2]].tolist() == [0, 0]


def test_labels_of_a_file_train_a_classifier_that_scores_what_it_has_not_seen(tmp_path: Path) -> None:
    rows = pages(600)
    documents = cleaned(tmp_path / "cleaned", rows)
    labels = tmp_path / "labels.jsonl"
    kinds = ["doc_id", "url"]
    labels.write_text(
        "".join(
            json.dumps({kinds[i % 2]: row[kinds[i % 2]], "score": row["score"]}) + "\n" for i, row in enumerate(rows)
        )
    )
    config = QualityConfig(num_features=1 << 12)
    made = []
    for name in ("one", "two"):
        out = tmp_path / name
        out.mkdir()
        made.append(run(config, {"cleaned": [documents]}, out, Execution(source=str(labels))))
        assert all(check.passed for check in made[-1].checks)
    assert (tmp_path / "one" / "weights.safetensors").read_bytes() == (
        tmp_path / "two" / "weights.safetensors"
    ).read_bytes()
    assert made[0].counts["labelled"] == made[0].counts["trained"] + made[0].counts["held_out"] == 600
    held_out = made[0].summary["held_out"]
    assert held_out["classifier"]["correlation"] > 0.9
    assert held_out["classifier"]["rmse"] < 0.5 * held_out["mean_of_labels"]["rmse"]

    (tmp_path / "scored").mkdir()
    result = run_score(
        ScoreConfig(languages=("en", "und"), min_language_score=0.0),
        {"cleaned": [documents], "quality_model": [tmp_path / "one"]},
        tmp_path / "scored",
        Execution(),
    )
    assert result.summary["scored_by"] == "quality_model"
    scored = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "scored").glob("part-*.parquet")))
    by_id = {row["doc_id"]: row["math_score"] for row in scored.to_pylist()}
    model = load_model(tmp_path / "one")
    assert by_id[rows[7]["doc_id"]] == pytest.approx(model.score([rows[7]["text"]])[0], abs=1e-6)


def test_labels_by_provenance_and_by_text(tmp_path: Path) -> None:
    rows = pages(300)
    documents = cleaned(tmp_path / "cleaned", rows)
    sources = (SourceScore(pattern="s[45].*", score=5), SourceScore(pattern="s[01].*", score=0))
    (tmp_path / "a").mkdir()
    config = QualityConfig(labels=ProvenanceLabels(sources=sources), num_features=1 << 12)
    result = run(config, {"cleaned": [documents]}, tmp_path / "a", Execution())
    assert result.counts["labelled"] == sum(row["score"] in (0, 1, 4, 5) for row in rows)
    assert result.summary["held_out"]["classifier"]["f1_good"] > 0.9

    labels = tmp_path / "labels.parquet"
    pq.write_table(pa.Table.from_pylist([{"text": row["text"], "score": row["score"]} for row in rows]), labels)
    (tmp_path / "b").mkdir()
    config = QualityConfig(num_features=1 << 12, max_documents=200)
    result = run(config, {}, tmp_path / "b", Execution(source=str(labels)))
    assert result.counts["trained"] + result.counts["held_out"] == 200
    assert set(observe(config, Execution(source=str(labels)))) == {"labels_sha256"}
    assert load_file(tmp_path / "b" / "weights.safetensors")["weights"].shape == (1 << 12,)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "line 1: not an object"),
        ('{"text": "a", "score": 6}', "line 1: score 6"),
        ('{"text": "a", "score": true}', "line 1: score True"),
        ('{"score": 1}', "line 1: needs one of"),
        ('{"text": "a", "score": 1}', "at least 50"),
    ],
)
def test_labels_that_cannot_be_used_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        run(QualityConfig(), {}, tmp_path, Execution(source=str(path)))


def test_configs_and_models_that_cannot_be(tmp_path: Path) -> None:
    wrongs: list[dict[str, Any]] = [{"num_features": 3}, {"l2": 0.0}, {"held_out_fraction": 1.0}, {"max_chars": 1}]
    for wrong in wrongs:
        with pytest.raises(InputError):
            QualityConfig(**wrong)
    with pytest.raises(InputError, match="two different scores"):
        ProvenanceLabels(sources=(SourceScore(pattern="*", score=1),))
    with pytest.raises(InputError, match="not a quality model"):
        load_model(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(InputError, match="not a quality model"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        run(QualityConfig(labels=FileLabels()), {}, tmp_path, Execution(source=str(tmp_path / "no")))


def test_measures() -> None:
    truth = np.array([0.0, 2, 3, 5])
    found = measures(np.array([0.4, 2.6, 3.0, 2.0]), truth)
    assert found["mae"] == pytest.approx((0.4 + 0.6 + 0 + 3) / 4, abs=1e-4)
    assert (found["accuracy"], found["within_one"]) == (0.5, 0.75)
    assert found["f1_good"] == pytest.approx(2 * 1 / (1 + 2), abs=1e-4)
    assert measures(np.full(4, 1.0), truth)["correlation"] is None
