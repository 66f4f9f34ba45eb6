"""The `cpu` backend of the losses of kernels.linear_loss: products by kernels.matmul, the rest in csrc/losses.cpp.

Where the hidden states are wide, tokens are taken in chunks and each chunk's logits are made once: three products, of
which the gradients are two. Where they are narrow and the vocabulary is large, a chunk that keeps to little memory is
too thin for its products to be fast; there the vocabulary is taken in tiles as well, which stay in cache, and made a
second time for the gradients: four products, and no logits in memory at all.

Shape suffixes: T tokens (C of a chunk), D hidden width, V vocabulary (W of a tile).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kernels import native
from kernels.loss_chunks import chunks
from kernels.matmul import matmul
from kernels.softcap import softcap, softcap_gradient_

NARROW_WIDTH = 128
"""Hidden width up to which products cost less than logits in memory."""

FEW_TOKENS = 64
"""Tokens of a chunk from which on its products are fast."""

TILE_TOKENS, TILE_COLUMNS = 512, 1024
KNOWN = 5
"""Numbers that the kernel keeps of a row of logits between tiles."""


class _SoftmaxArgs(native.Arguments):
    _fields_ = native.fields(
        "rows columns first threads gradient", "logits teacher target losses known", doubles="scale"
    )


class Projection(NamedTuple):
    """What logits are the product of, and their cap (see kernels.softcap)."""

    hidden_TD: Tensor
    weight_VD: Tensor
    cap: float | None

    def logits(self, tokens: slice, columns: slice = slice(None), out: Tensor | None = None) -> Tensor:
        return softcap(matmul(self.hidden_TD[tokens], self.weight_VD[columns].T, out_MN=out), self.cap)


class Loss(NamedTuple):
    """A cross-entropy, or with a teacher a KL divergence, as the kernel takes it."""

    student: Projection
    teacher: Projection | None
    target_T: Tensor
    """Classes, negative where a token does not count; with a teacher 0 and -1."""

    scale: float
    """Of all logits, behind their cap."""

    chunk_size: int
    """Tokens whose logits may be whole in memory."""

    def call(self, function: str, tokens: slice, logits: Tensor, teacher_logits: Tensor | None, **more) -> None:
        tensors = {name: more.pop(name) for name in ("losses", "known") if name in more}
        arguments = _SoftmaxArgs(
            rows=logits.shape[0], columns=logits.shape[1], threads=torch.get_num_threads(), scale=self.scale, **more
        )
        arguments.point(logits=logits, teacher=teacher_logits, target=self.target_T[tokens], **tensors)
        native.call(function, logits.dtype, arguments)


class Gradients(NamedTuple):
    """Of the sum of the losses; None where it is not wanted."""

    hidden_TD: Tensor | None
    weight_VD: Tensor | None

    @property
    def wanted(self) -> bool:
        return self.hidden_TD is not None or self.weight_VD is not None

    def times(self, factor: float) -> "Gradients":
        """The same, multiplied in place."""
        for gradient in self:
            if gradient is not None and factor != 1.0:
                gradient.mul_(factor)
        return self


def new_gradients(student: Projection, wanted: tuple[bool, bool]) -> Gradients:
    """Those that are wanted, the weight's zero."""
    hidden_TD, weight_VD, _ = student
    return Gradients(
        torch.empty_like(hidden_TD) if wanted[0] else None, torch.zeros_like(weight_VD) if wanted[1] else None
    )


def losses_and_gradients(loss: Loss, wanted: tuple[bool, bool]) -> tuple[Tensor, Gradients]:
    """(sum of the losses, their gradients with respect to the student's hidden states and weight)."""
    hidden_TD = loss.student.hidden_TD
    tokens, width = hidden_TD.shape
    gradients = new_gradients(loss.student, wanted)
    losses_T = hidden_TD.new_empty(tokens)

    def differentiate(part: slice, logits_CV: Tensor) -> None:
        teacher_CV = None if loss.teacher is None else loss.teacher.logits(part)
        function = "cross_entropy" if teacher_CV is None else "kl"
        loss.call(function, part, logits_CV, teacher_CV, losses=losses_T[part], gradient=int(gradients.wanted))

    if loss.chunk_size < min(FEW_TOKENS, tokens) and width <= NARROW_WIDTH:
        _by_tiles(loss, losses_T, gradients)
    else:
        by_chunks(loss.student, loss.chunk_size, gradients, differentiate)
    return losses_T.sum(), gradients


def by_chunks(
    student: Projection, chunk_size: int, gradients: Gradients, differentiate: Callable[[slice, Tensor], None]
) -> None:
    """Fill the gradients; `differentiate(tokens, logits_CV)` turns (capped) logits into their gradient in place."""
    hidden_TD, weight_VD, cap = student
    for part in chunks(len(hidden_TD), chunk_size):
        logits_CV = student.logits(part)
        capped_CV = logits_CV.clone() if gradients.wanted and cap is not None else None
        differentiate(part, logits_CV)
        if capped_CV is not None and cap is not None:
            softcap_gradient_(logits_CV, capped_CV, cap)
        if gradients.hidden_TD is not None:
            matmul(logits_CV, weight_VD, out_MN=gradients.hidden_TD[part])
        if gradients.weight_VD is not None:
            matmul(logits_CV.T, hidden_TD[part], out_MN=gradients.weight_VD, add=True)


def _by_tiles(loss: Loss, losses_T: Tensor, gradients: Gradients) -> None:
    hidden_TD, weight_VD, cap = loss.student
    buffers = [hidden_TD.new_empty(min(TILE_TOKENS, len(losses_T)) * TILE_COLUMNS) for _ in range(2)]
    if gradients.hidden_TD is not None:
        gradients.hidden_TD.zero_()

    def tile(part: slice, columns: slice) -> tuple[Tensor, Tensor | None]:
        shape = part.stop - part.start, columns.stop - columns.start
        views = [buffer[: shape[0] * shape[1]].view(shape) for buffer in buffers]
        logits_CW = loss.student.logits(part, columns, views[0])
        return logits_CW, None if loss.teacher is None else loss.teacher.logits(part, columns, views[1])

    for part in chunks(len(losses_T), TILE_TOKENS):
        known = hidden_TD.new_zeros(part.stop - part.start, KNOWN)
        known[:, 0:4:2] = -torch.inf
        logits_CW = teacher_CW = hidden_TD.new_empty(0)
        for columns in chunks(len(weight_VD), TILE_COLUMNS):
            logits_CW, teacher_CW = tile(part, columns)
            loss.call("softmax_collect", part, logits_CW, teacher_CW, first=columns.start, known=known)
        loss.call("softmax_finish", part, logits_CW, teacher_CW, losses=losses_T[part], known=known)
        for columns in chunks(len(weight_VD), TILE_COLUMNS) if gradients.wanted else ():
            logits_CW, teacher_CW = tile(part, columns)
            capped_CW = None if cap is None else logits_CW.clone()
            loss.call("softmax_differentiate", part, logits_CW, teacher_CW, first=columns.start, known=known)
            if capped_CW is not None and cap is not None:
                softcap_gradient_(logits_CW, capped_CW, cap)
            if gradients.hidden_TD is not None:
                matmul(logits_CW, weight_VD[columns], out_MN=gradients.hidden_TD[part], add=True)
            if gradients.weight_VD is not None:
                matmul(logits_CW.T, hidden_TD[part], out_MN=gradients.weight_VD[columns], add=True)


class _NativeLoss(Function):
    """The gradients are made with the value and given away in the first backward pass; a second one makes them anew."""

    @staticmethod
    def forward(ctx, hidden_TD, weight_VD, loss):
        ctx.wanted = ctx.needs_input_grad[:2]
        total, ctx.gradients = losses_and_gradients(loss, ctx.wanted)
        teacher = (None, None, None) if loss.teacher is None else loss.teacher
        ctx.save_for_backward(hidden_TD, weight_VD, *teacher[:2], loss.target_T)
        ctx.caps = loss.student.cap, teacher[2]
        ctx.options = loss.scale, loss.chunk_size
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_total):  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            hidden_TD, weight_VD, teacher_TD, teacher_VD, target_T = ctx.saved_tensors
            teacher = None if teacher_TD is None else Projection(teacher_TD, teacher_VD, ctx.caps[1])
            student = Projection(hidden_TD, weight_VD, ctx.caps[0])
            _, gradients = losses_and_gradients(Loss(student, teacher, target_T, *ctx.options), ctx.wanted)
        return *gradients.times(float(grad_total)), None


def linear_loss(loss: Loss) -> Tensor:
    """The sum of the losses, differentiable in the student's hidden states and weight."""
    return _NativeLoss.apply(loss.student.hidden_TD, loss.student.weight_VD, loss)
