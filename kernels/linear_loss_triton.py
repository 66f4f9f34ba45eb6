"""The `triton` backend of the cross-entropy on a projection: the products are torch's, what becomes of a chunk of
logits is one kernel, in which a program reads a row twice and writes its gradient in its place. (The KL divergence is
that of kernels.distill_loss_triton.)

Shape suffixes as in kernels.linear_loss.
"""

import triton.language as tl
from torch import Tensor
from torch.nn.functional import linear

from kernels.logits_triton import capped, load_logits, log_sum_exp, options, uncapped
from kernels.loss_chunks import ChunkedLoss, ProjectionGradients, chunks
from kernels.triton_support import kernel, on, untraced, work_dtype


@kernel
def _cross_entropy(
    logits_ptr, target_ptr, loss_ptr, vocabulary,
    CAP: tl.constexpr, GRADIENT: tl.constexpr, WORK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    row_ptr = logits_ptr + row * vocabulary
    target = tl.load(target_ptr + row)
    counted = target >= 0
    own = capped(tl.load(row_ptr + tl.maximum(target, 0)).to(WORK), CAP)
    log_total = log_sum_exp(row_ptr, vocabulary, 1.0, CAP, WORK, BLOCK)
    tl.store(loss_ptr + row, tl.where(counted, log_total - own, 0.0))
    if GRADIENT:
        for start in range(0, vocabulary, BLOCK):
            at_V = start + tl.arange(0, BLOCK)
            inside_V = at_V < vocabulary
            logit_V = load_logits(row_ptr, at_V, inside_V, 0.0, CAP, WORK)
            grad_V = tl.exp(logit_V - log_total) - tl.where(at_V == target, 1.0, 0.0)
            grad_V = tl.where(counted, uncapped(grad_V, logit_V, CAP), 0.0)
            tl.store(row_ptr + at_V, grad_V.to(logits_ptr.dtype.element_ty), mask=inside_V)


class _CrossEntropy(ChunkedLoss):
    @staticmethod
    def forward(ctx, hidden_TD, weight_VD, target_T, size, cap):  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients = ProjectionGradients(hidden_TD, weight_VD, ctx.needs_input_grad[:2])
        losses_T = hidden_TD.new_empty(len(hidden_TD), dtype=work_dtype(hidden_TD))
        for part in chunks(len(hidden_TD), size):
            logits_TV = linear(hidden_TD[part], weight_VD.to(hidden_TD.dtype))
            with on(logits_TV):
                _cross_entropy[(logits_TV.shape[0],)](
                    logits_TV, target_T[part], losses_T[part], logits_TV.shape[1],
                    CAP=cap, **options(logits_TV, gradient=gradients.wanted),
                )  # fmt: skip
            if gradients.wanted:
                gradients.add(part, logits_TV)
        gradients.keep(ctx)
        return losses_T.sum()


@untraced
def cross_entropy(hidden_TD, weight_VD, target_T, size, cap) -> Tensor:
    """The summed loss, as kernels.linear_loss.linear_cross_entropy; targets are -1 where none counts."""
    return _CrossEntropy.apply(hidden_TD, weight_VD, target_T.contiguous(), size, cap)
