"""The chunked distillation losses against definitions on whole logits, written here a second time."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from kernels.distill_loss import DISTILLATION, KINDS, DenseTeacher, Loss, TopK, linear_distillation, most_likely

TOKENS, VOCAB = 13, 11
CASES = [Loss(kind=kind, temperature=t) for kind in KINDS[:4] for t in (1.0, 2.5)]
CASES += [Loss(kind="top_k_kl", top_k=k, tail=tail) for k in (1, 4, VOCAB) for tail in ("renormalise", "bucket")]
CASES += [Loss(kind="top_k_kl", top_k=3, tail="bucket", temperature=0.5, ce_weight=0.3), Loss(ce_weight=2.0)]
CASES += [Loss(kind=kind, top_k=4, cap=1.5, ce_weight=0.5) for kind in KINDS]


def make_inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    hidden, weight, teacher_hidden, teacher_weight = (
        torch.randn(rows, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for rows, width in ((TOKENS, 6), (VOCAB, 6), (TOKENS, 9), (VOCAB, 9))
    )
    target = torch.randint(0, VOCAB, (TOKENS,), generator=generator)
    target[[0, 5, 12]] = -100
    return hidden, weight, DenseTeacher(hidden_TE=teacher_hidden, weight_VE=teacher_weight), target


def by_hand(z, u, target, loss) -> tuple[torch.Tensor, torch.Tensor]:
    """One token at a time, from the definitions."""
    total, divergence = (torch.zeros((), dtype=torch.float64) for _ in range(2))
    for zt, ut, label in zip(z, u, target, strict=True):
        if label < 0:
            continue
        p, q = (ut / loss.temperature).softmax(0), (zt / loss.temperature).softmax(0)
        if loss.kind == "forward_kl":
            value = sum(pi * (pi.log() - qi.log()) for pi, qi in zip(p, q, strict=True))
        elif loss.kind == "reverse_kl":
            value = sum(qi * (qi.log() - pi.log()) for pi, qi in zip(p, q, strict=True))
        elif loss.kind == "mse":
            value = sum((zi - ui) ** 2 for zi, ui in zip(zt, ut, strict=True)) / VOCAB
        elif loss.kind == "cosine":
            value = 1 - (zt @ ut) / (zt @ zt).sqrt() / (ut @ ut).sqrt()
        else:
            best = sorted(range(VOCAB), key=lambda i: -float(p[i]))[: loss.top_k]
            rest = [i for i in range(VOCAB) if i not in best]
            outcomes = [(p[i], q[i]) for i in best]
            if loss.tail == "renormalise":
                mass = [sum(pair[n] for pair in outcomes) for n in (0, 1)]
                outcomes = [(a / mass[0], b / mass[1]) for a, b in outcomes]
            elif rest:
                outcomes.append((sum(p[i] for i in rest), sum(q[i] for i in rest)))
            value = sum(a * (a.log() - b.log()) for a, b in outcomes)
        divergence = divergence + value
        total = total + value - loss.ce_weight * log_softmax(zt, 0)[label]
    return total, divergence


@pytest.mark.parametrize("loss", CASES, ids=str)
def test_values_and_gradients(loss):
    hidden, weight, teacher, target = make_inputs()
    z = hidden @ weight.T
    u = (teacher.hidden_TE @ teacher.weight_VE.T).detach()
    if loss.cap:
        teacher = replace(teacher, cap=0.8)
        z, u = loss.cap * torch.tanh(z / loss.cap), 0.8 * torch.tanh(u / 0.8)
    expected = by_hand(z, u, target, loss)
    gradients = torch.autograd.grad(0.3 * expected[0], [hidden, weight])
    for backend in DISTILLATION.backends("cpu"):
        for size in (1, 4, 100) if backend != "ref" else (1,):
            found = linear_distillation(hidden, weight, teacher, target, loss=loss, chunk_size=size, backend=backend)
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
            assert not found[1].requires_grad
            torch.testing.assert_close(
                torch.autograd.grad(0.3 * found[0], [hidden, weight]), gradients, rtol=1e-11, atol=1e-12
            )


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_vocabulary_in_single_precision(kind):
    """Against whole logits in double precision: 1,003 tokens are many vectors and a rest, and no k takes them all."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((20, 8), (1003, 8), (20, 12), (1003, 12))
    double = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    single = [tensor.float() for tensor in double]
    target = torch.arange(20) * 50
    target[3] = -100
    for loss in (Loss(kind=kind, top_k=k, tail=tail) for k in (1, 40, 1000) for tail in ("renormalise", "bucket")):
        found = []
        for (hidden, weight, *theirs), backend in ((double, "ref"), (single, "auto")):
            hidden, weight = (tensor.clone().requires_grad_() for tensor in (hidden, weight))
            teacher = DenseTeacher(hidden_TE=theirs[0], weight_VE=theirs[1])
            total, _ = linear_distillation(hidden, weight, teacher, target, loss=loss, backend=backend)
            gradients = torch.autograd.grad(total, [hidden, weight], retain_graph=True)
            again = torch.autograd.grad(total, [hidden, weight])
            assert all(map(torch.equal, gradients, again))
            found.append([total.detach(), *gradients])
        for expected, value in zip(*found, strict=True):
            assert (value - expected).norm() <= 3e-6 * expected.norm(), loss
        if kind != "top_k_kl":
            break


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, VOCAB - 1])
def test_what_is_not_a_number_is_not_lost(kind, place):
    hidden, weight, teacher, target = make_inputs()
    teacher.weight_VE.data[place] = math.nan
    for backend in DISTILLATION.backends("cpu"):
        loss = Loss(kind=kind, top_k=3)
        total, _ = linear_distillation(hidden, weight, teacher, target, loss=loss, backend=backend)
        assert total.isnan(), backend


def test_the_teacher_gets_no_gradient():
    hidden, weight, teacher, target = make_inputs()
    linear_distillation(hidden, weight, teacher, target, loss=Loss(kind="reverse_kl"))[0].backward()
    assert hidden.grad is not None
    assert teacher.hidden_TE.grad is None
    assert teacher.weight_VE.grad is None


@pytest.mark.parametrize("tail", ["renormalise", "bucket"])
def test_top_k_becomes_the_whole_kl_and_the_bucket_grows_towards_it(tail):
    hidden, weight, teacher, target = make_inputs()
    (dense, _), *found = (
        linear_distillation(hidden, weight, teacher, target, loss=loss)
        for loss in (Loss(), *(Loss(kind="top_k_kl", top_k=k, tail=tail) for k in range(1, VOCAB + 1)))
    )
    values = [value.item() for value, _ in found]
    assert values[-1] == pytest.approx(dense.item(), rel=1e-12)
    if tail == "bucket":  # merging outcomes never adds to a divergence
        assert values == sorted(values)


def test_a_teacher_kept_as_its_most_likely_tokens_is_the_dense_one():
    hidden, weight, teacher, target = make_inputs()
    kept = most_likely((teacher.hidden_TE @ teacher.weight_VE.T).detach(), 4)
    mass = kept.log_probs_TK.exp().sum(-1) + kept.log_tail_T.exp()
    torch.testing.assert_close(mass, torch.ones_like(mass))
    for tail in ("renormalise", "bucket"):
        loss = Loss(kind="top_k_kl", top_k=4, tail=tail, ce_weight=0.5)
        dense, sparse = (
            linear_distillation(hidden, weight, which, target, loss=loss, chunk_size=4)[0] for which in (teacher, kept)
        )
        torch.testing.assert_close(sparse, dense, rtol=1e-12, atol=1e-12)


def test_equal_distributions_have_no_loss_and_no_gradient():
    hidden, weight, _, target = make_inputs()
    same = DenseTeacher(hidden_TE=hidden.detach().clone(), weight_VE=weight.detach().clone())
    for loss in CASES:
        if loss.ce_weight:
            continue
        total, _ = linear_distillation(hidden, weight, same, target, loss=loss)
        assert abs(total.item()) < 1e-12
        assert float(torch.autograd.grad(total, hidden)[0].abs().max()) < 1e-12


def test_half_precision_is_summed_in_float32():
    hidden, weight, teacher, target = make_inputs(torch.bfloat16)
    total, _ = linear_distillation(hidden, weight, teacher, target, loss=Loss(kind="reverse_kl", ce_weight=1.0))
    assert total.dtype == torch.float32
    z, u = (h.double() @ w.double().T for h, w in ((hidden, weight), (teacher.hidden_TE, teacher.weight_VE)))
    expected = by_hand(z, u, target, Loss(kind="reverse_kl", ce_weight=1.0))[0]
    assert total.item() == pytest.approx(expected.item(), rel=0.02)
    total.backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.bfloat16


def test_a_sure_teacher_gives_finite_gradients():
    """All mass on the kept tokens: the log of the tail is minus infinity."""
    hidden, weight, _, target = make_inputs()
    sure = TopK(
        ids_TK=torch.zeros(TOKENS, 1, dtype=torch.int64),
        log_probs_TK=torch.zeros(TOKENS, 1, dtype=torch.float64),
        log_tail_T=torch.full((TOKENS,), -math.inf, dtype=torch.float64),
    )
    total, _ = linear_distillation(hidden, weight, sure, target, loss=Loss(kind="top_k_kl", tail="bucket"))
    expected = cross_entropy((hidden @ weight.T)[target >= 0], torch.zeros(10, dtype=torch.int64), reduction="sum")
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(torch.autograd.grad(total, hidden), torch.autograd.grad(expected, hidden))


def test_a_sure_student_gets_finite_gradients():
    """In single precision the others' probabilities are 0 and their ratio to the teacher's is infinite."""
    hidden, weight, _, target = make_inputs(torch.float32)
    same = DenseTeacher(hidden_TE=hidden.detach(), weight_VE=weight.detach())
    loss = Loss(kind="top_k_kl", top_k=1, tail="bucket")
    found = []
    for backend in DISTILLATION.backends("cpu"):
        sure = (100 * hidden).detach().to(torch.float64 if backend == "ref" else torch.float32).requires_grad_()
        total, _ = linear_distillation(sure, weight.to(sure.dtype), same, target, loss=loss, backend=backend)
        found.append(torch.autograd.grad(total, sure)[0].double())
    assert found[0].norm() > 1
    for gradient in found[1:]:
        torch.testing.assert_close(gradient, found[0], rtol=1e-3, atol=1e-3)


def test_wrong_arguments_are_named():
    hidden, weight, teacher, target = make_inputs()
    kept = most_likely(torch.randn(TOKENS, VOCAB), 3)
    for wrong, message in (
        ({"loss": Loss(kind="top_k_kl", top_k=12)}, "top_k must be 1 to the vocabulary of 11, got 12"),
        ({"loss": Loss(kind="best")}, "no loss 'best'"),  # type: ignore[arg-type]
        ({"loss": Loss(temperature=0.0)}, "temperature must be positive"),
        ({"loss": Loss(), "teacher": kept}, "serve top_k_kl at temperature 1"),
        ({"loss": Loss(kind="top_k_kl"), "teacher": kept.of(slice(4))}, "tokens, student 13"),
        ({"target_T": target[:4]}, "for 13 tokens"),
        ({"target_T": target.masked_fill(target == target[1], VOCAB)}, "holds 11, outside the vocabulary of 11"),
    ):
        arguments = {"hidden_TD": hidden, "weight_VD": weight, "teacher": teacher, "target_T": target, "loss": Loss()}
        with pytest.raises(ValueError, match=message):
            linear_distillation(**{**arguments, **wrong})
