"""Distillation: a student comes nearer to its teacher, a kill changes nothing, and what does not fit is refused."""

import dataclasses
import json
import shutil

import pytest
import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.hybrid import HybridLM
from ops.data import TokenData
from ops.distill.config import DistillConfig, IntermediateConfig, LossConfig
from ops.distill.run import run
from ops.errors import InputError
from ops.stage import Execution
from ops.train.config import WSDConfig
from tests.ops.training_inputs import tiny_model, write_inputs
from tests.ops.training_kills import contents, kill_often

EXECUTION = Execution(threads=1)
CONFIG = DistillConfig(
    schedule=WSDConfig(warmup_steps=1, decay_fraction=1.0, decay_shape="cosine"),
    batch_size=4,
    seq_len=32,
    total_tokens=8 * 4 * 32,
    micro_batch_size=2,
    log_every_steps=1,
    validate_every_steps=4,
    validation_sequences=6,
    sample_prompts=("Return the",),
    sample_tokens=5,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A teacher wider than the student, both with random weights: there is much to learn."""
    folder = tmp_path_factory.mktemp("inputs")
    inputs = write_inputs(folder)
    vocab_size = TokenData.open(inputs["training_set"][0], inputs["tokens"]).vocab_size
    wide = dataclasses.replace(tiny_model(vocab_size, "M*M-"), d_model=48, initializer_range=0.2)
    save_checkpoint(HybridLM.create(wide, seed=1), folder / "teacher")
    save_checkpoint(HybridLM.create(tiny_model(vocab_size), seed=2), folder / "student")
    return {**inputs, "teacher": [folder / "teacher"], "student": [folder / "student"]}


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    return out, run(CONFIG, inputs, out, EXECUTION)


def test_the_student_comes_nearer_to_its_teacher(inputs, undisturbed):
    out, result = undisturbed
    (check,) = [check for check in result.checks if check.name == "validation_kl_improved"]
    assert check.passed
    assert check.blocking
    before, after = result.summary["validation_before"], result.summary["validation_after"]
    assert after["kl"] < before["kl"]
    student, teacher = (load_checkpoint(inputs[name][0]) for name in ("student", "teacher"))
    assert result.counts["parameters"] == student.config.num_params()
    per_token = 3 * student.config.flops_per_token(32) + teacher.config.flops_per_token(32)
    assert result.flops == 8 * 4 * 32 * per_token

    # The first and last KL of the record, computed from full logits of the checkpoints on disk.
    data = TokenData.open(inputs["training_set"][0], inputs["tokens"])
    for model, recorded in ((student, before["kl"]), (load_checkpoint(out), after["kl"])):
        total = tokens = 0.0
        for batch in data.validation_batches(batch_size=4, seq_len=32, max_tokens=6 * 32):
            ids, seq_idx = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.seq_idx)
            with torch.no_grad():
                p, q = (net(ids, seq_idx_BL=seq_idx).double().log_softmax(-1) for net in (teacher, model))
            counted = torch.from_numpy(batch.labels != -100)
            total += (p.exp() * (p - q)).sum(-1)[counted].sum().item()
            tokens += counted.sum().item()
        assert recorded == pytest.approx(total / tokens, rel=1e-5)


def test_the_first_loss_is_the_kl_of_the_first_batch_of_phase_2(inputs, undisturbed):
    data = TokenData.open(inputs["training_set"][0], inputs["tokens"])
    batch = data.batch(phase=2, step=0, batch_size=4, seq_len=32, seed=0)
    student, teacher = (load_checkpoint(inputs[name][0]) for name in ("student", "teacher"))
    ids, seq_idx = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.seq_idx)
    p, q = (net(ids, seq_idx_BL=seq_idx).log_softmax(-1) for net in (teacher, student))
    expected = (p.exp() * (p - q)).sum(-1)[torch.from_numpy(batch.labels != -100)].mean().item()
    rows = [json.loads(line) for line in (undisturbed[0] / "metrics.jsonl").read_text().splitlines()]
    assert next(row for row in rows if row.get("step") == 1)["loss"] == pytest.approx(expected, rel=1e-5)


def test_killed_at_random_moments_ends_with_the_same_bytes(inputs, undisturbed, tmp_path):
    kills = kill_often("distill", CONFIG, inputs, tmp_path, targets=(0, 1, 3, 6, 8), seed=2)
    assert kills >= 3
    assert contents(tmp_path) == contents(undisturbed[0])
    assert not [path for path in tmp_path.rglob(".*")]


def test_vocabularies_must_be_equal(inputs, tmp_path):
    vocab_size = load_checkpoint(inputs["student"][0]).config.vocab_size
    save_checkpoint(HybridLM.create(tiny_model(vocab_size + 1), seed=1), tmp_path / "teacher")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match=f"student {vocab_size}, teacher {vocab_size + 1}"):
        run(CONFIG, {**inputs, "teacher": [tmp_path / "teacher"]}, out, EXECUTION)


def test_a_damaged_teacher_is_named(inputs, tmp_path):
    shutil.copytree(inputs["teacher"][0], tmp_path / "teacher")
    weights = tmp_path / "teacher" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match=r"teacher/model\.safetensors"):
        run(CONFIG, {**inputs, "teacher": [tmp_path / "teacher"]}, out, EXECUTION)


def test_defaults_are_minitrons():
    config = DistillConfig()
    assert (config.temperature, config.phase, config.schedule.decay_shape) == (1.0, 2, "cosine")
    assert config.loss == LossConfig(kind="forward_kl", ce_weight=0.0, intermediate=None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DistillConfig(temperature=0.0), "temperature"),
        (lambda: DistillConfig(temperature=2.0, loss=LossConfig(kind="mse")), "mse knows none"),
        (lambda: DistillConfig(phase=3), "phase"),
        (lambda: LossConfig(kind="best"), "'best' is not one of forward_kl"),  # type: ignore[arg-type]
        (lambda: LossConfig(kind="cross_entropy", ce_weight=1.0), "goes without"),
        (lambda: LossConfig(top_k=0), "top_k"),
        (lambda: IntermediateConfig(student_states=(1,), teacher_states=(1, 2)), "as many"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
