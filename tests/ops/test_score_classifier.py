"""A sequence classifier with one output, as FineMath's is: a tiny random BERT against a plain forward pass."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from ops.errors import InputError
from ops.score.classifier import TrainedElsewhere, locate, observe_classifier
from ops.score.config import Classifier, ScoreConfig
from ops.score.run import observe, run
from ops.stage import Execution
from tests.ops.test_quality import cleaned, pages

NAMED = Classifier()
SMALL = replace(NAMED, max_tokens=24, batch_size=4)


def save(folder: Path, *, num_labels: int = 1) -> Path:
    """Random weights and a WordPiece tokenizer, in the form of the published checkpoint."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([row["text"] for row in pages(30)], trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names: Mapping[str, Any] = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.6,
        problem_type="regression",
    )
    config.num_labels = num_labels
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.mul_(6)
        model.classifier.bias.fill_(2.0)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("classifier"))


def expected(folder: Path, text: str) -> float:
    """One text at a time, its middle 1,000 characters and their first 24 tokens cut by hand."""
    from transformers import AutoTokenizer, BertForSequenceClassification

    start = max(0, (len(text) - 1000) // 2)
    ids = AutoTokenizer.from_pretrained(folder)(text[start : start + 1000])["input_ids"]
    ids = ids if len(ids) <= 24 else [*ids[:23], ids[-1]]
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return min(max(float(model(torch.tensor([ids])).logits[0, 0]), 0.0), 5.0)


def test_scores_are_those_of_a_plain_forward_pass_and_documents_stay_whole(folder: Path, tmp_path: Path) -> None:
    rows = pages(20)
    rows[4]["text"] = rows[4]["text"][:40]
    rows[5]["text"] = ""
    documents = cleaned(tmp_path / "cleaned", rows)
    config = ScoreConfig(
        languages=("en", "und"), min_language_score=0.0, max_scored_chars=1000, classifier=SMALL, min_int_score=0
    )
    (tmp_path / "out").mkdir()
    result = run(config, {"cleaned": [documents]}, tmp_path / "out", Execution(source=str(folder)))
    assert all(check.passed for check in result.checks)
    assert result.summary["scored_by"] == "HuggingFaceTB/finemath-classifier@main"
    found = {
        row["doc_id"]: row
        for part in sorted((tmp_path / "out").glob("part-*.parquet"))
        for row in pq.read_table(part).to_pylist()
    }
    assert len(found) + sum(result.dropped.values()) == len(rows)
    wanted = {row["doc_id"]: expected(folder, row["text"]) for row in rows}
    for row in rows:
        if row["doc_id"] in found:
            assert found[row["doc_id"]]["math_score"] == pytest.approx(wanted[row["doc_id"]], abs=2e-4)
            assert found[row["doc_id"]]["text"] == row["text"]
    scores = set(wanted.values())
    assert {0.0, 5.0} & scores, "a score is clipped"
    assert len(scores) > 5


def test_a_score_depends_on_its_batch_alone(folder: Path) -> None:
    texts = [row["text"] for row in pages(10)]
    one, other = (TrainedElsewhere(SMALL, str(folder)) for _ in range(2))
    one.score(texts[3:], 20_000)
    assert one.score(texts, 20_000) == other.score(texts, 20_000)


def test_weights_are_found_by_name_in_the_cache_and_named_when_absent(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"finemath-classifier@main: its weights are not here.*hf download"):
        locate(NAMED, None)
    repository = tmp_path / "models--HuggingFaceTB--finemath-classifier"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c0ffee")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / "c0ffee").symlink_to(folder)
    assert locate(NAMED, None) == repository / "snapshots" / "c0ffee"
    assert TrainedElsewhere(SMALL, None).score(["a matrix"], 1000) == TrainedElsewhere(SMALL, str(folder)).score(
        ["a matrix"], 1000
    )
    seen = observe(ScoreConfig(classifier=NAMED), Execution())
    assert seen.items() >= observe_classifier(NAMED, str(folder)).items()
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= seen.keys()


def test_what_is_no_such_classifier_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json"):
        locate(NAMED, str(tmp_path))
    with pytest.raises(InputError, match="has 2 outputs"):
        TrainedElsewhere(NAMED, str(save(tmp_path / "two", num_labels=2)))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (pickled / path.name).write_bytes(path.read_bytes())
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot load the classifier"):
        TrainedElsewhere(NAMED, str(pickled))
    documents = cleaned(tmp_path / "cleaned", pages(4))
    with pytest.raises(InputError, match="give one of them"):
        run(
            ScoreConfig(classifier=NAMED),
            {"cleaned": [documents], "quality_model": [tmp_path]},
            tmp_path,
            Execution(source=str(folder)),
        )
    for wrong in ({"name": ""}, {"max_tokens": 0}, {"batch_size": 0}):
        with pytest.raises(InputError, match=rf"Classifier\.{next(iter(wrong))}"):
            replace(NAMED, **wrong)
