"""Kept teacher logits: exact to their bits, resumable, and distilled from as from the teacher itself."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint import load_checkpoint, save_checkpoint
from model.hybrid import HybridLM
from ops.data import TokenData
from ops.distill.config import DistillConfig, LossConfig
from ops.distill.run import run as distill
from ops.errors import InputError
from ops.stage import Execution
from ops.teacher_logits.config import TeacherLogitsConfig
from ops.teacher_logits.format import decode, encode, record_type
from ops.teacher_logits.read import TeacherLogits
from ops.teacher_logits.run import run
from ops.train.config import WSDConfig
from tests.ops.training_inputs import tiny_model, write_inputs
from tests.ops.training_kills import contents, kill_often

ONE = Execution(threads=1)
CONFIG = TeacherLogitsConfig(num_sequences=22, seq_len=32, top_k=12, batch_size=4, shard_sequences=8)
LOSS = LossConfig(kind="top_k_kl", top_k=12, tail="bucket")
RUN = DistillConfig(
    loss=LOSS,
    schedule=WSDConfig(warmup_steps=1),
    batch_size=4,
    micro_batch_size=2,
    seq_len=32,
    total_tokens=5 * 4 * 32,
    log_every_steps=1,
    validation_sequences=4,
    sample_prompts=(),
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("inputs")
    inputs = write_inputs(folder)
    vocab_size = TokenData.open(inputs["training_set"][0], inputs["tokens"]).vocab_size
    wide = dataclasses.replace(tiny_model(vocab_size, "M*M-"), d_model=48, initializer_range=0.4)
    save_checkpoint(HybridLM.create(wide, seed=1), folder / "teacher")
    save_checkpoint(HybridLM.create(tiny_model(vocab_size), seed=2), folder / "student")
    return {**inputs, "teacher": [folder / "teacher"], "student": [folder / "student"]}


@pytest.fixture(scope="module")
def made(inputs: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("logits")
    return out, run(CONFIG, inputs, out, ONE)


def test_what_is_kept_is_the_teachers_distribution(inputs, made) -> None:
    out, result = made
    kept = TeacherLogits.open(out)
    assert kept.record.itemsize == result.counts["bytes_per_token"] == 2 + 4 * 12
    assert sum(path.stat().st_size for path in out.glob("logits-*.bin")) == 22 * 32 * kept.record.itemsize
    data = TokenData.open(inputs["training_set"][0], inputs["tokens"])
    teacher = load_checkpoint(inputs["teacher"][0])
    batch = data.batch(phase=2, step=3, batch_size=5, seq_len=32, seed=0)  # samples of two files
    with torch.no_grad():
        ids, seq_idx = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.seq_idx)
        expected = teacher(ids, seq_idx_BL=seq_idx).double().log_softmax(-1)
    rows = {name: torch.from_numpy(value) for name, value in kept.rows(range(15, 20)).items()}
    assert rows["teacher_ids"].shape == (5, 32, 12)
    best = expected.topk(12, dim=-1)
    assert (rows["teacher_ids"] == best.indices).float().mean() > 0.999
    torch.testing.assert_close(rows["teacher_log_probs"].double(), best.values, rtol=0, atol=1.2 / 1024)
    mass = rows["teacher_log_probs"].double().exp().sum(-1) + rows["teacher_log_tail"].double().exp()
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-6)
    tail = expected.scatter(-1, best.indices, -torch.inf).logsumexp(-1)
    torch.testing.assert_close(rows["teacher_log_tail"].double(), tail, rtol=0, atol=1.2 / 1024)
    assert result.summary["mass_kept"]["mean"] == pytest.approx(1 - float(kept_tail(kept)), rel=1e-6)


def kept_tail(kept: TeacherLogits) -> float:
    return float(np.exp(kept.rows(range(22))["teacher_log_tail"].astype(np.float64)).mean())


@settings(max_examples=40)
@given(
    vocab_size=st.sampled_from([300, 65_536, 65_537, 131_072, 1_000_000]),
    top_k=st.integers(1, 19),
    bits=st.sampled_from([16, 32]),
    seed=st.integers(0, 999),
)
def test_records_hold_any_id_and_every_bit_that_they_promise(vocab_size: int, top_k: int, bits: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    kind = record_type(top_k=top_k, vocab_size=vocab_size, log_prob_bits=bits)
    planes = max(0, (vocab_size - 1).bit_length() - 16)
    assert kind.itemsize == (bits // 8) * (top_k + 1) + 2 * top_k + planes * -(-top_k // 8)
    ids = generator.integers(vocab_size, size=(5, top_k))
    ids[0, 0] = vocab_size - 1
    logits = generator.normal(size=(5, top_k + 1)) * 5
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    records = encode(kind, ids, log_probs[:, :-1], log_probs[:, -1])
    found_ids, found, tail = decode(records.reshape(5, 1))
    np.testing.assert_array_equal(found_ids[:, 0], ids)
    close = 1.1 / 1024 if bits == 16 else 1e-5
    np.testing.assert_allclose(found[:, 0], log_probs[:, :-1], atol=close)
    np.testing.assert_allclose(tail[:, 0], log_probs[:, -1], atol=close)


def test_a_killed_pass_goes_on_with_the_files_that_are_not_there(inputs, made, tmp_path: Path) -> None:
    run(CONFIG, inputs, tmp_path, ONE)
    first = tmp_path / "logits-00000.bin"
    untouched = first.stat().st_mtime_ns
    (tmp_path / "logits-00001.bin").unlink()
    (tmp_path / ".logits-00001.bin.77.tmp").write_bytes(b"cut")
    result = run(CONFIG, inputs, tmp_path, ONE)
    assert first.stat().st_mtime_ns == untouched
    assert contents(tmp_path) == contents(made[0])
    assert result == made[1]
    with pytest.raises(InputError, match="another teacher, data or config"):
        run(dataclasses.replace(CONFIG, seed=1), inputs, tmp_path, ONE)
    (tmp_path / "logits-00002.bin").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"logits-00002\.bin: has 3 bytes"):
        TeacherLogits.open(tmp_path)


def rows_of(out: Path) -> list[dict]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


@pytest.mark.parametrize("tail", ["bucket", "renormalise"])
def test_distilling_from_it_is_distilling_from_the_teacher(inputs, tmp_path: Path, tail) -> None:
    """The same steps as with the teacher beside it: to the last digits where log-probabilities are kept as floats."""
    loss = dataclasses.replace(LOSS, tail=tail, top_k=7, ce_weight=0.2)
    for name in ("logits", "online", "cached"):
        (tmp_path / name).mkdir()
    run(dataclasses.replace(CONFIG, log_prob_bits=32), inputs, tmp_path / "logits", ONE)
    online = distill(dataclasses.replace(RUN, loss=loss), inputs, tmp_path / "online", ONE)
    inputs = {**inputs, "teacher_logits": [tmp_path / "logits"]}
    cached = distill(dataclasses.replace(RUN, loss=loss, teacher="cached"), inputs, tmp_path / "cached", ONE)
    for one, other in zip(rows_of(tmp_path / "online"), rows_of(tmp_path / "cached"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
    assert cached.summary["validation_after"]["kl"] == pytest.approx(online.summary["validation_after"]["kl"], rel=1e-4)
    teacher = load_checkpoint(inputs["teacher"][0]).config
    assert online.flops - cached.flops == teacher.flops_per_token(32) * 5 * 4 * 32


def test_a_killed_run_from_kept_logits_ends_with_the_same_bytes(inputs, made, tmp_path: Path) -> None:
    inputs = {**inputs, "teacher_logits": [made[0]]}
    config = dataclasses.replace(RUN, teacher="cached")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    result = distill(config, inputs, tmp_path / "whole", ONE)
    assert all(check.passed for check in result.checks)
    assert kill_often("distill", config, inputs, tmp_path / "killed", targets=(2,), seed=0) == 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_what_does_not_fit_is_refused(inputs, made, tmp_path: Path) -> None:
    cached = dataclasses.replace(RUN, teacher="cached")
    given = {**inputs, "teacher_logits": [made[0]]}
    for config, message in (
        (dataclasses.replace(cached, seed=1), "seed is 0 there, 1 in DistillConfig"),
        (dataclasses.replace(cached, total_tokens=6 * 4 * 32), "keeps 22 sequences, the run reads 24"),
        (dataclasses.replace(cached, loss=dataclasses.replace(LOSS, top_k=13)), "keeps 12 tokens"),
    ):
        with pytest.raises(InputError, match=message):
            distill(config, given, tmp_path, ONE)
    with pytest.raises(InputError, match="made with another teacher/"):
        distill(cached, {**given, "teacher": inputs["student"]}, tmp_path, ONE)
    with pytest.raises(InputError, match="top_k: 999 of a vocabulary"):
        run(dataclasses.replace(CONFIG, top_k=999), inputs, tmp_path / "new", ONE)
    with pytest.raises(InputError, match="cached logits serve the loss top_k_kl"):
        DistillConfig(teacher="cached")
