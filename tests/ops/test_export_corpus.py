"""The exported corpus: what its card promises is in its files, and a reader of cards finds it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ops.errors import InputError
from ops.export_corpus.config import ExportCorpusConfig
from ops.export_corpus.run import run
from ops.schema import CORPUS
from ops.stage import Execution, StageResult
from tests.ops.corpora import corpus_row, make_texts, write_corpus
from tests.ops.test_export import record

SCORES = [2, 3, 4, 4, 3, 5, 2, 4, 3, 3, 1, 4]


def corpora(root: Path, scores: list[int] = SCORES) -> list[Path]:
    rows = [
        corpus_row(number, text, math_score=score + 0.1, math_int_score=score, language="de" if number == 3 else "en")
        for number, (text, score) in enumerate(zip(make_texts(len(scores), seed=2), scores, strict=True))
    ]
    half = len(rows) // 2
    return [write_corpus(root / "a", [rows[:2], rows[2:half]]), write_corpus(root / "b", [rows[half:], []])]


def export(root: Path, inputs: list[Path], **options: Any) -> StageResult:
    (root / "out").mkdir(exist_ok=True)
    return run(ExportCorpusConfig(**options), {"corpus": inputs}, root / "out", Execution())


def front_matter(out: Path) -> dict[str, Any]:
    _, text, _ = (out / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(text)


def rows_of(out: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a configuration, found as `datasets` finds them: by the globs of the card."""
    (config,) = [config for config in front_matter(out)["configs"] if config["config_name"] == name]
    (split,) = config["data_files"]
    paths = [path for pattern in split["path"] for path in sorted(out.glob(pattern))]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("file_bytes", [1, 10**9])
def test_configurations_hold_their_documents(tmp_path: Path, file_bytes: int) -> None:
    inputs = corpora(tmp_path)
    everything = [
        row for folder in inputs for path in sorted(folder.glob("*")) for row in pq.read_table(path).to_pylist()
    ]
    result = export(tmp_path, inputs, file_bytes=file_bytes)
    assert all(check.passed for check in result.checks)
    out = tmp_path / "out"
    for name, least in (("all", 0), ("3plus", 3), ("4plus", 4)):
        expected = [row for row in everything if row["math_int_score"] >= least]
        found = rows_of(out, name)
        assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, expected))
        assert result.counts[f"documents_{name}"] == len(expected)
    order = [row["doc_id"] for row in rows_of(out, "all") if row["math_int_score"] == 4]
    assert order == [row["doc_id"] for row in everything if row["math_int_score"] == 4]
    assert len(list((out / "data" / "score-3").iterdir())) == (3 if file_bytes == 1 else 1)


def test_the_card_states_features_and_sizes_of_the_files(tmp_path: Path) -> None:
    export(tmp_path, corpora(tmp_path))
    out = tmp_path / "out"
    card = front_matter(out)
    assert [config["config_name"] for config in card["configs"] if config.get("default")] == ["all"]
    assert card["language"] == ["de", "en"]
    assert card["size_categories"] == ["n<1K"]
    for info in card["dataset_info"]:
        schema = pa.schema([(feature["name"], getattr(pa, feature["dtype"])()) for feature in info["features"]])
        assert schema.equals(pa.schema([(field.name, field.type) for field in CORPUS]))
        rows = rows_of(out, info["config_name"])
        assert info["splits"] == [{"name": "train", "num_bytes": info["dataset_size"], "num_examples": len(rows)}]
    text = (out / "README.md").read_text()
    assert all(f"| `{name}` |" in text for name in CORPUS.names)
    assert "works of the authors" in text
    assert "Origin" not in text


def test_the_card_says_what_the_records_say(tmp_path: Path) -> None:
    inputs = corpora(tmp_path)
    (tmp_path / "scored").mkdir()
    (tmp_path / "out").mkdir()
    made = replace(record("scored"), counts={"in": 1500, "out": 1400}, dropped={"language": 90, "below_min_score": 10})
    (tmp_path / "scored" / "record.json").write_text(made.to_json())
    given = {"corpus": inputs, "scored": [tmp_path / "scored"]}
    run(ExportCorpusConfig(name="Mathematics of one crawl"), given, tmp_path / "out", Execution())
    text = (tmp_path / "out" / "README.md").read_text()
    assert "# Mathematics of one crawl" in text
    assert "| `scored` | 1,500 | 1,400 | below_min_score 10, language 90 |" in text
    assert made.digest[:12] in text
    assert made.created_at not in text


def test_a_score_without_documents_has_no_configuration(tmp_path: Path) -> None:
    result = export(tmp_path, corpora(tmp_path, [1, 2, 3, 3]))
    assert [config["config_name"] for config in front_matter(tmp_path / "out")["configs"]] == ["all", "3plus"]
    assert "documents_4plus" not in result.counts


def test_no_documents_at_all(tmp_path: Path) -> None:
    result = export(tmp_path, corpora(tmp_path, []))
    assert result.counts["out"] == 0
    assert front_matter(tmp_path / "out")["configs"] == []


def test_bad_input_is_named(tmp_path: Path) -> None:
    (path, _) = corpora(tmp_path)
    (path / "part-00001.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"part-00001\.parquet: not a readable"):
        export(tmp_path, [path])
    pq.write_table(pa.table({"doc_id": ["x"]}), path / "part-00001.parquet")
    with pytest.raises(InputError, match="lacks the columns"):
        export(tmp_path, [path])
    with pytest.raises(InputError, match="least_scores"):
        ExportCorpusConfig(least_scores=(4, 3))


def test_datasets_loads_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    export(tmp_path, corpora(tmp_path))
    loaded = datasets.load_dataset(str(tmp_path / "out"), "4plus", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == SCORES.count(4) + SCORES.count(5)
    assert loaded.column_names == CORPUS.names
