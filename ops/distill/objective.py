"""What a student minimises: its divergence from the teacher, and what the config adds to it.

Shape suffixes: B batch, L length, T = B * L tokens, D student width, E teacher width, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, linear, rms_norm

from kernels.distill_loss import DenseTeacher, Loss, Teacher, TopK, linear_distillation
from kernels.linear_loss import linear_cross_entropy, linear_kl
from model.hybrid import HybridLM
from ops.data.batch import IGNORED
from ops.distill.config import DistillConfig, IntermediateConfig
from ops.errors import InputError
from ops.train.objective import Objective, later_losses, loss_precision

PROJECTION = "distill_projection"
"""Name of the map to the teacher's width, which is a parameter of the student for as long as it learns: optimizer,
clipping and states treat it as one. `detach_projection` takes it away."""


class Distillation(Objective):
    """The loss of the config; what is reported is the divergence in it, or the cross-entropy where there is none."""

    def __init__(self, student: HybridLM, teacher: HybridLM, config: DistillConfig) -> None:
        """Raises InputError for states that the networks do not have."""
        super().__init__(student)
        self.teacher = (teacher,)  # in a tuple, so that it is no submodule: it has nothing to learn
        self.config = config
        self.mtp_depths = config.mtp_depths if student.mtp is not None else 0
        if self.intermediate is not None:
            attach_projection(student, teacher, self.intermediate, seed=config.seed)

    def networks(self) -> tuple[HybridLM, ...]:
        online = self.config.loss.kind != "cross_entropy" and self.config.teacher == "online"
        return (self.model, *self.teacher) if online else (self.model,)

    @property
    def intermediate(self) -> IntermediateConfig | None:
        return self.config.loss.intermediate

    def forward(
        self, input_ids_BL: Tensor, labels_BL: Tensor, seq_idx_BL: Tensor, **more: Tensor
    ) -> tuple[Tensor, Tensor]:
        pairs = self.intermediate
        with states_of(self.model, pairs.student_states) if pairs else nullcontext([]) as own:
            hidden_BLD = self.model.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL)
        further = later_losses(self.model, hidden_BLD, input_ids_BL, labels_BL, seq_idx_BL, depths=self.mtp_depths)
        labels_T = labels_BL.flatten()
        hidden_TD, weight_VD = hidden_BLD.flatten(0, 1), self.model.lm_head.weight
        if self.config.loss.kind == "cross_entropy":
            with loss_precision():
                cap = self.model.config.final_logit_softcapping
                total, _ = linear_cross_entropy(hidden_TD, weight_VD, labels_T, ignore_index=IGNORED, cap=cap)
            reported = total
        else:
            if self.config.teacher == "cached":
                seen, theirs = self._kept(more), []
            else:
                (teacher,) = self.teacher
                with torch.no_grad(), states_of(teacher, pairs.teacher_states) if pairs else nullcontext([]) as theirs:
                    teacher_BLE = teacher.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL)
                seen = DenseTeacher(
                    hidden_TE=teacher_BLE.flatten(0, 1),
                    weight_VE=teacher.lm_head.weight,
                    cap=teacher.config.final_logit_softcapping,
                )
            with loss_precision():
                total, reported = self._divergence(hidden_TD, weight_VD, seen, labels_T)
                if pairs is not None:
                    counted_T = labels_T != IGNORED
                    term = state_loss(own, theirs, getattr(self.model, PROJECTION), counted_T, pairs)
                    dynamic = reported.detach() / term.detach().clamp(min=torch.finfo(term.dtype).tiny)
                    total = total + (dynamic if pairs.weight is None else pairs.weight) * term
        for term in further:
            total = total + self.config.mtp_loss_scale / self.mtp_depths * term
        return total, reported.detach()

    def _kept(self, more: Mapping[str, Tensor]) -> TopK:
        """What the batch brings of the teacher."""
        kept = TopK(
            ids_TK=more["teacher_ids"].flatten(0, 1),
            log_probs_TK=more["teacher_log_probs"].flatten(0, 1),
            log_tail_T=more["teacher_log_tail"].flatten(),
        )
        return kept.first(self.config.loss.top_k)

    def _divergence(
        self, hidden_TD: Tensor, weight_VD: Tensor, teacher: Teacher, labels_T: Tensor
    ) -> tuple[Tensor, Tensor]:
        loss, temperature, cap = self.config.loss, self.config.temperature, self.model.config.final_logit_softcapping
        if loss.kind == "forward_kl" and not loss.ce_weight and isinstance(teacher, DenseTeacher):
            total, _ = linear_kl(
                hidden_TD,
                weight_VD,
                teacher.hidden_TE,
                teacher.weight_VE,
                temperature=temperature,
                mask_T=labels_T != IGNORED,
                cap=cap,
                teacher_cap=teacher.cap,
            )
            return total, total
        return linear_distillation(
            hidden_TD, weight_VD, teacher, labels_T, loss=replace(kernel_loss(self.config), cap=cap)
        )


def kernel_loss(config: DistillConfig) -> Loss:
    """The config's divergence for `kernels.distill_loss`."""
    loss = config.loss
    assert loss.kind != "cross_entropy"
    return Loss(
        kind=loss.kind, temperature=config.temperature, top_k=loss.top_k, tail=loss.tail, ce_weight=loss.ce_weight
    )


def attach_projection(student: HybridLM, teacher: HybridLM, pairs: IntermediateConfig, *, seed: int) -> None:
    """Give the student its map to the teacher's width: the identity where the widths are equal, else orthogonal.

    Raises InputError for states that the networks do not have.
    """
    for name, model, states in (("student", student, pairs.student_states), ("teacher", teacher, pairs.teacher_states)):
        if max(states) > model.config.num_layers:
            raise InputError(
                f"IntermediateConfig.{name}_states: {max(states)}, but the {name} has {model.config.num_layers} layers"
            )
    weight_ED = torch.empty(teacher.config.d_model, student.config.d_model)
    if weight_ED.shape[0] == weight_ED.shape[1]:
        nn.init.eye_(weight_ED)
    else:
        nn.init.orthogonal_(weight_ED, generator=torch.Generator().manual_seed(seed))
    student.register_parameter(PROJECTION, nn.Parameter(weight_ED.to(student.lm_head.weight.device)))


def detach_projection(student: HybridLM) -> None:
    """Leave the student as its configuration says."""
    student._parameters.pop(PROJECTION, None)


@contextmanager
def states_of(model: HybridLM, states: Sequence[int]) -> Iterator[list[Tensor]]:
    """While open, forward passes of `model` put its states x_BLD with these numbers into the list that is yielded."""
    found: dict[int, Tensor] = {}
    ordered: list[Tensor] = []
    modules = [model.backbone.embeddings, *model.backbone.layers]

    def keep(number: int) -> torch.utils.hooks.RemovableHandle:
        return modules[number].register_forward_hook(lambda _module, _inputs, x_BLD: found.update({number: x_BLD}))

    handles = [keep(number) for number in set(states)]
    try:
        yield ordered
        ordered += [found[number] for number in states]
    finally:
        for handle in handles:
            handle.remove()


def state_loss(
    own: Sequence[Tensor],
    theirs: Sequence[Tensor],
    weight_ED: Tensor,
    counted_T: Tensor,
    pairs: IntermediateConfig,
) -> Tensor:
    """Mean over pairs of the distance between the mapped state of the student and that of the teacher, summed over the
    counted tokens."""
    total = weight_ED.new_zeros(())
    for x_BLD, y_BLE in zip(own, theirs, strict=True):
        x_TD, y_TE = (rms_norm(state.flatten(0, 1)[counted_T], state.shape[-1:]) for state in (x_BLD, y_BLE))
        mapped_TE = linear(x_TD.to(weight_ED.dtype), weight_ED)
        y_TE = y_TE.to(weight_ED.dtype)
        if pairs.distance == "cosine":
            distance_T = 1 - cosine_similarity(mapped_TE, y_TE, dim=-1)
        else:
            distance_T = (mapped_TE - y_TE).square().sum(-1) / y_TE.square().sum(-1)
        total = total + distance_T.sum() / len(own)
    return total
