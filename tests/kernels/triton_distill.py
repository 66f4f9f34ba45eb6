"""The Triton kernels of the distillation losses, interpreted, against `ref` in float64."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kernels import logits_triton
from kernels.distill_loss import KINDS, TAILS, DenseTeacher, Loss, TopK, linear_distillation, most_likely
from tests.kernels import test_distill_loss
from tests.kernels.test_distill_loss import VOCAB
from tests.kernels.triton_agreement import agree

CASES = [Loss(kind=kind) for kind in KINDS[:4]]
CASES += [Loss(kind=kind, temperature=2.5, cap=1.5, ce_weight=0.3) for kind in KINDS[:4]]
CASES += [Loss(kind="top_k_kl", top_k=k, tail=tail) for k in (6, VOCAB) for tail in TAILS]
CASES += [Loss(kind="top_k_kl", top_k=3, tail=tail, temperature=0.5, cap=1.5, ce_weight=0.3) for tail in TAILS]


@pytest.fixture
def blocks(monkeypatch):
    """Rows of several blocks, of the kept as well."""
    monkeypatch.setattr(logits_triton, "MOST_BLOCK", 4)


def make_inputs() -> tuple[Tensor, Tensor, DenseTeacher, Tensor]:
    """Six tokens, of which the first and the last do not count."""
    hidden, weight, teacher, target = test_distill_loss.make_inputs()
    seen = DenseTeacher(hidden_TE=teacher.hidden_TE.detach()[:6], weight_VE=teacher.weight_VE.detach())
    return hidden.detach()[:6], weight.detach(), seen, target[:6]


def check(loss: Loss, dtype: torch.dtype, teacher: DenseTeacher | TopK | None = None, shrink: float = 1.0) -> None:
    hidden, weight, dense, target = make_inputs()
    seen = teacher or replace(dense, cap=loss.cap and loss.cap / 2)

    def run(backend, hidden, weight):
        numbers = {
            name: value.to(hidden.dtype) for name, value in vars(seen).items() if "hidden" in name or "w" in name
        }
        used = replace(seen, **numbers)
        return linear_distillation(hidden, weight, used, target, loss=loss, chunk_size=4, backend=backend)

    agree(run, [hidden * shrink, weight], dtype)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("loss", CASES, ids=str)
def test_values_and_gradients(loss):
    check(loss, torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_one_block_holds_in_single_precision(kind):
    check(Loss(kind=kind, top_k=4, tail="bucket", ce_weight=1.0, cap=30.0), torch.float32)


def test_half_precision():
    for kind in ("forward_kl", "top_k_kl"):
        check(Loss(kind=kind, top_k=4, ce_weight=1.0), torch.bfloat16, shrink=0.1)


@pytest.mark.parametrize("tail", TAILS)
def test_a_teacher_kept_as_its_most_likely_tokens(tail):
    _, _, teacher, _ = make_inputs()
    kept = most_likely(teacher.hidden_TE @ teacher.weight_VE.T, 4)
    check(Loss(kind="top_k_kl", tail=tail, ce_weight=0.5), torch.float64, kept)
    check(Loss(kind="top_k_kl", tail=tail), torch.float64, kept.first(1))


@pytest.mark.parametrize("kind", KINDS)
def test_without_gradients_and_what_is_not_a_number(kind):
    hidden, weight, teacher, target = make_inputs()
    loss = Loss(kind=kind, top_k=3)
    expected, found = (
        linear_distillation(hidden, weight, teacher, target, loss=loss, backend=backend)
        for backend in ("ref", "triton")
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    teacher.weight_VE[VOCAB - 1] = math.nan
    assert linear_distillation(hidden, weight, teacher, target, loss=loss, backend="triton")[0].isnan()


def test_a_sure_teacher_and_a_sure_student():
    """The log of the others' mass is minus infinity; the teacher has so much more of it that the ratio overflows."""
    hidden, weight, _, target = make_inputs()
    ids = (hidden @ weight.T).topk(1).indices
    for log_tail, log_prob in ((-math.inf, 0.0), (math.log(0.5), math.log(0.5))):
        tails = torch.full((len(ids),), log_tail, dtype=torch.float64)
        kept = TopK(ids_TK=ids, log_probs_TK=torch.full_like(tails, log_prob)[:, None], log_tail_T=tails)
        loss = Loss(kind="top_k_kl", tail="bucket")
        found = []
        for backend, dtype in (("ref", torch.float64), ("triton", torch.float32)):
            student = (100 * hidden).to(dtype).requires_grad_()
            total, _ = linear_distillation(student, weight.to(dtype), kept, target, loss=loss, backend=backend)
            found.append([total.double(), torch.autograd.grad(total, student)[0].double()])
        torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)
