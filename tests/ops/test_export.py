"""Export: loads elsewhere as it is, says what the record says, and nothing that it does not."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.generate import generate
from model.hybrid import HybridLM
from ops.atomic import write_json
from ops.errors import InputError
from ops.export.config import ExportConfig
from ops.export.run import run
from ops.stage import Check, Execution
from ops.store.record import Cost, Parent, Record
from ops.train.vocabulary import tokenizer_files
from tests.ops.training_inputs import standard_library_texts, tiny_model, write_tokenizer

VOCAB_SIZE = 320
EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "moe_shared_expert_intermediate_size": 32,
}
PARENTS = (
    Parent(input="tokenizer", asset="tokenizer", version="1-aaa", digest="d" * 64),
    *(Parent(input="tokens", asset="tokens", partition=f"C|{i}", version="1-bbb", digest="e" * 64) for i in range(9)),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer") / "t"
    write_tokenizer(folder, standard_library_texts(), VOCAB_SIZE)
    return folder


def checkpoint(folder: Path, tokenizer: Path, pattern: str = "M*-") -> Path:
    config = replace(tiny_model(VOCAB_SIZE), pattern=pattern, **(EXPERTS if "E" in pattern else {}))
    save_checkpoint(HybridLM.create(config, seed=4), folder, tokenizer_files=tokenizer_files(tokenizer))
    return folder


def record(asset: str, *parents: Parent, created_at: str = "2026-01-01") -> Record:
    return Record(
        asset=asset,
        partition=None,
        version="3-abcdef",
        fingerprint="f" * 64,
        code_version="3+abc",
        stage="train",
        config={},
        observed=None,
        parents=parents,
        files={},
        files_at="",
        digest="9" * 64,
        status="accepted",
        counts={"steps": 120, "tokens": 1234567},
        dropped={},
        checks=(Check(name="finite_weights", passed=True, description="every weight is finite"),),
        summary={"samples": [{"prompt": "Let $x$", "continuation": " be\na *number*"}]},
        cost=Cost(wall_s=1.5, cpu_s=2.5, peak_rss_bytes=3, flops=4.5e12),
        created_at=created_at,
        git_commit="c0ffee",
    )


def export(source: Path, out: Path, *, evaluation: Path | None = None, **options):
    out.mkdir()
    inputs = {"checkpoint": [source], **({} if evaluation is None else {"evaluation": [evaluation]})}
    return run(ExportConfig(**options), inputs, out, Execution())


@pytest.mark.parametrize("pattern", ["M*-M-", "MEM*E"])
def test_transformers_loads_it_and_generates_the_same(pattern, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    source = checkpoint(tmp_path / "c", tokenizer, pattern)
    result = export(source, tmp_path / "out", dtype="float32", max_shard_size=20_000)
    assert result.counts["weights_files"] > 2
    assert all(check.passed for check in result.checks)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "auto_map" not in config
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", trust_remote_code=False)
    encoded = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")("Return the", return_tensors="pt")
    assert theirs.generation_config.do_sample is False
    expected = theirs.generate(**encoded, max_new_tokens=20)
    ours = load_checkpoint(source)
    found = generate(ours, encoded["input_ids"], max_new_tokens=20, eos_token_id=ours.config.eos_token_id)
    assert torch.equal(found, expected)


def test_weights_are_rounded_once_and_sensitive_ones_not(tokenizer, tmp_path):
    source = checkpoint(tmp_path / "c", tokenizer, "ME")
    export(source, tmp_path / "out")
    before, after = load_checkpoint(source).state_dict(), load_checkpoint(tmp_path / "out").state_dict()
    for name, tensor in before.items():
        sensitive = name.endswith(("A_log", ".D", "dt_bias", "correction_bias"))
        assert torch.equal(after[name], tensor if sensitive else tensor.bfloat16().float()), name


def test_bytes_depend_on_content_alone(tokenizer, tmp_path):
    digests = []
    for name in ("a", "b"):
        source = checkpoint(tmp_path / name, tokenizer)
        (source / "record.json").write_text(record("model", *PARENTS, created_at=name).to_json())
        export(source, tmp_path / f"{name}-out")
        files = sorted((tmp_path / f"{name}-out").iterdir())
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert digests[0] == digests[1]
    assert digests[0].keys() == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_card_says_what_the_record_and_the_evaluation_say(tokenizer, tmp_path):
    source = checkpoint(tmp_path / "c", tokenizer, "MEM*E")
    model = record("model", *PARENTS)
    (source / "record.json").write_text(model.to_json())
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "record.json").write_text(record("evaluation", model.parent("checkpoint")).to_json())
    task = {"kind": "multiple_choice", "documents": 1500, "accuracy": 0.31234, "accuracy_interval": [0.29, 0.33]}
    validation = {"tokens": 54321, "loss": 2.34567, "bits_per_byte": None}
    write_json(evaluation / "scores.json", {"model": {}, "validation": validation, "tasks": {"arith": task}})
    result = export(source, tmp_path / "out", evaluation=evaluation, name="Demo | one")
    card = (tmp_path / "out" / "README.md").read_text()
    assert result.summary["card"] == card
    assert card.startswith("---\nlibrary_name: transformers\n")
    for line in (
        "# Demo | one",
        f"| parameters | {load_checkpoint(source).config.num_params():,} |",
        "| experts | 4, 2 chosen, and a shared one |",
        "| held-out tokens | 54,321 |",
        "| loss (nats a token) | 2.346 |",
        "| bits per byte | not finite |",
        "| arith | accuracy | 0.3123 | 0.29 to 0.33 | 1,500 |",
        "| artefact | `model@3-abcdef` |",
        "| tokens | 1,234,567 |",
        "| FLOPs | 4.5e+12 |",
        "| tokenizer | `tokenizer` |  | `1-aaa` | `dddddddddddd` |",
        "| tokens | `tokens` | 9 partitions |  |  |",
        "| finite_weights | held | every weight is finite |",
        "> **Let $x$** be",
        "> a \\*number\\*",
    ):
        assert line in card.splitlines(), line
    assert "It was made by Stillhouse from the mathematics of Common Crawl." in card
    assert "2026-01-01" not in card
    assert "c0ffee" not in card


def test_card_of_a_checkpoint_from_no_store_has_no_origin(tokenizer, tmp_path):
    export(checkpoint(tmp_path / "c", tokenizer), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert [line for line in card.splitlines() if line.startswith("## ")] == ["## Network", "## Use"]
    assert "Common Crawl" not in card


def test_what_does_not_fit_is_refused(tokenizer, tmp_path):
    source = checkpoint(tmp_path / "c", tokenizer)
    (source / "record.json").write_text(record("model").to_json())
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    other = Parent(input="checkpoint", asset="model", version="1", digest="0" * 64)
    (evaluation / "record.json").write_text(record("evaluation", other).to_json())
    with pytest.raises(InputError, match=r"is the evaluation of another checkpoint than model@3-abcdef"):
        export(source, tmp_path / "out1", evaluation=evaluation)
    normed = HybridLM.create(replace(tiny_model(VOCAB_SIZE), attention_norm="qk"), seed=0)
    save_checkpoint(normed, tmp_path / "normed", tokenizer_files=tokenizer_files(tokenizer))
    with pytest.raises(InputError, match="has attention_norm 'qk', which the nemotron_h format lacks"):
        export(tmp_path / "normed", tmp_path / "out3")
    (source / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"holds no tokenizer\.json"):
        export(source, tmp_path / "out2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float8"}, "ExportConfig.dtype: 'float8'"),
        ({"max_shard_size": 10}, "ExportConfig.max_shard_size: must be at least 1000 bytes"),
        ({"name": "a\nb"}, "ExportConfig.name: must be one line"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        ExportConfig(**options)
