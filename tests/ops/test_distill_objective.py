"""Objectives of distillation against the same on whole logits, and a run whose objective learns something too."""

import dataclasses

import pytest
import torch
from torch import Tensor

import ops.train.objective as train_objective
from kernels import distill_loss
from model.checkpoint import load_checkpoint, save_checkpoint
from model.hybrid import HybridLM
from ops.data import TokenData
from ops.data.batch import IGNORED
from ops.distill import config as distill_config
from ops.distill.config import DistillConfig, IntermediateConfig, LossConfig
from ops.distill.objective import PROJECTION, Distillation, detach_projection
from ops.distill.run import run
from ops.errors import InputError
from ops.stage import Execution
from ops.train.config import WSDConfig
from tests.ops.training_inputs import tiny_model, write_inputs
from tests.ops.training_kills import contents, kill_often

VOCAB = 64


def networks(pattern: str = "M*-") -> tuple[HybridLM, HybridLM]:
    """Both cap their logits, so that a loss which forgets it shows."""
    narrow = dataclasses.replace(tiny_model(VOCAB, pattern), initializer_range=0.3, final_logit_softcapping=2.0)
    student = HybridLM.create(narrow, seed=1)
    wide = dataclasses.replace(
        tiny_model(VOCAB, "M*M-"), d_model=48, initializer_range=0.3, final_logit_softcapping=3.0
    )
    return student.double(), HybridLM.create(wide, seed=2).double().requires_grad_(False)


def tokens() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(VOCAB, (2, 24), generator=generator)
    labels = torch.randint(VOCAB, (2, 24), generator=generator)
    labels[0, :3], labels[1, 11] = IGNORED, IGNORED
    seq_idx = torch.zeros(2, 24, dtype=torch.int32)
    seq_idx[1, 12:] = 1
    return ids, labels, seq_idx


def make(student: HybridLM, teacher: HybridLM, **changes) -> Distillation:
    return Distillation(student, teacher, DistillConfig(**changes))


def same(found: Tensor, expected: Tensor, model: HybridLM) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    parameters = list(model.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), rtol=1e-8, atol=1e-11
    )


@pytest.mark.parametrize(
    ("loss", "temperature"),
    [
        (LossConfig(), 2.0),
        (LossConfig(kind="forward_kl", ce_weight=0.5), 1.0),
        (LossConfig(kind="reverse_kl"), 0.5),
        (LossConfig(kind="top_k_kl", top_k=VOCAB), 1.0),
        (LossConfig(kind="cross_entropy"), 1.0),
    ],
    ids=str,
)
def test_the_objective_is_its_definition_and_leaves_the_teacher_alone(loss: LossConfig, temperature: float) -> None:
    student, teacher = networks()
    ids, labels, seq_idx = tokens()
    objective = make(student, teacher, loss=loss, temperature=temperature)
    assert len(list(objective.parameters())) == len(list(student.parameters()))
    total, reported = objective(ids, labels, seq_idx)
    z, u = (net(ids, seq_idx_BL=seq_idx)[labels != IGNORED] for net in (student, teacher))
    q, p = (z / temperature).log_softmax(-1), (u / temperature).log_softmax(-1)
    ce = -z.log_softmax(-1).gather(1, labels[labels != IGNORED][:, None]).sum()
    divergence = ce
    if loss.kind != "cross_entropy":
        divergence = (q.exp() * (q - p) if loss.kind == "reverse_kl" else p.exp() * (p - q)).sum()
    torch.testing.assert_close(reported, divergence.detach(), rtol=1e-10, atol=1e-12)
    same(total, divergence + loss.ce_weight * ce, student)


@pytest.mark.parametrize("distance", ["cosine", "mse"])
@pytest.mark.parametrize("weight", [None, 0.7])
def test_intermediate_states_by_hand(distance, weight) -> None:
    student, teacher = networks()
    ids, labels, seq_idx = tokens()
    pairs = IntermediateConfig(student_states=(0, 2), teacher_states=(0, 3), distance=distance, weight=weight)
    objective = make(student, teacher, loss=LossConfig(intermediate=pairs))
    matrix = student.get_parameter(PROJECTION)
    assert matrix.shape == (48, 32)
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(32), rtol=0, atol=1e-5)
    matrix.data = matrix.data.double()
    total, reported = objective(ids, labels, seq_idx)

    def states(model: HybridLM) -> list[Tensor]:
        from model.block import Visibility

        found = [model.backbone.embeddings(ids)]
        for layer in model.backbone.layers:
            found.append(layer(found[-1], visibility=Visibility.of_documents(seq_idx)))
        return found

    own, theirs = states(student), states(teacher)
    term = torch.zeros((), dtype=torch.float64)
    for s, t in ((0, 0), (2, 3)):
        for row, column in (labels != IGNORED).nonzero().tolist():
            x, y = own[s][row, column], theirs[t][row, column]
            x, y = x / x.square().mean().add(torch.finfo(x.dtype).eps).sqrt(), y / y.square().mean().sqrt()
            mapped = matrix @ x
            if distance == "cosine":
                term = term + (1 - mapped @ y / mapped.norm() / y.norm()) / 2
            else:
                term = term + ((mapped - y) ** 2).sum() / (y**2).sum() / 2
    z, u = (net(ids, seq_idx_BL=seq_idx)[labels != IGNORED].log_softmax(-1) for net in (student, teacher))
    kl = (u.exp() * (u - z)).sum()
    torch.testing.assert_close(reported, kl.detach())
    alpha = float(kl.detach() / term.detach()) if weight is None else weight
    same(total, kl + alpha * term, student)
    if weight is None:
        torch.testing.assert_close(total.detach(), 2 * kl.detach())
    detach_projection(student)
    assert student.state_dict().keys() == HybridLM(student.config).state_dict().keys()


def test_activation_checkpointing_changes_no_gradient_of_the_states() -> None:
    ids, labels, seq_idx = tokens()
    pairs = IntermediateConfig(student_states=(1, 3), teacher_states=(1, 4))
    found = []
    for again in (False, True):
        student, teacher = networks()
        objective = make(student, teacher, loss=LossConfig(intermediate=pairs))
        student.backbone.activation_checkpointing = again
        total, _ = objective(ids, labels, seq_idx)
        total.backward()
        found.append([parameter.grad for parameter in student.parameters()])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_states_that_are_not_there_are_refused() -> None:
    pairs = IntermediateConfig(student_states=(4,), teacher_states=(4,))
    with pytest.raises(InputError, match="student_states: 4, but the student has 3 layers"):
        make(*networks(), loss=LossConfig(intermediate=pairs))


def test_students_go_on_predicting_several_tokens() -> None:
    _, teacher = networks()
    blocks = {"num_nextn_predict_layers": 1, "mtp_hybrid_override_pattern": "*-"}
    student = HybridLM.create(dataclasses.replace(tiny_model(VOCAB), **blocks), seed=1).double()
    ids, labels, seq_idx = tokens()
    objective = make(student, teacher, mtp_depths=2, mtp_loss_scale=0.4)
    total, kl = objective(ids, labels, seq_idx)
    hidden = student.hidden_states(ids, seq_idx_BL=seq_idx)
    terms = []
    for depth, further in enumerate(student.mtp_hidden_states(hidden, ids, depths=2, seq_idx_BL=seq_idx), start=1):
        later = train_objective.later_labels(labels, seq_idx, depth)
        log_q = student.lm_head(further).log_softmax(-1)[later != IGNORED]
        terms.append(-log_q.gather(1, later[later != IGNORED][:, None]).sum())
    torch.testing.assert_close((total - kl).detach(), (0.2 * (terms[0] + terms[1])).detach())
    total.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_the_config_knows_the_kinds_of_the_kernels() -> None:
    assert (*distill_loss.KINDS, "cross_entropy") == distill_config.LOSSES
    assert distill_config.TAILS == distill_loss.TAILS


def test_a_run_with_a_projection_is_resumed_to_the_same_bytes_and_leaves_none(tmp_path) -> None:
    inputs = write_inputs(tmp_path / "data")
    vocab_size = TokenData.open(inputs["training_set"][0], inputs["tokens"]).vocab_size
    wide = dataclasses.replace(tiny_model(vocab_size, "M*M-"), d_model=48, initializer_range=0.2)
    save_checkpoint(HybridLM.create(wide, seed=1), tmp_path / "teacher")
    save_checkpoint(HybridLM.create(tiny_model(vocab_size), seed=2), tmp_path / "student")
    inputs |= {"teacher": [tmp_path / "teacher"], "student": [tmp_path / "student"]}
    pairs = IntermediateConfig(student_states=(0, 3), teacher_states=(0, 4))
    config = DistillConfig(
        loss=LossConfig(kind="top_k_kl", top_k=8, tail="bucket", ce_weight=0.1, intermediate=pairs),
        schedule=WSDConfig(warmup_steps=1, decay_fraction=1.0, decay_shape="cosine"),
        batch_size=4,
        micro_batch_size=2,
        seq_len=32,
        total_tokens=5 * 4 * 32,
        validation_sequences=4,
        sample_prompts=(),
    )
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    result = run(config, inputs, tmp_path / "whole", Execution(threads=1))
    assert all(check.passed for check in result.checks)
    assert kill_often("distill", config, inputs, tmp_path / "killed", targets=(1, 3), seed=0) >= 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert load_checkpoint(tmp_path / "whole").config == tiny_model(vocab_size)
