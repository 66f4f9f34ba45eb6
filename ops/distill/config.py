"""What a distillation run is made of."""

from dataclasses import dataclass
from typing import Literal

from ops.errors import InputError
from ops.train.config import AdamWConfig, RunConfig, WSDConfig, check_range

LOSSES = ("forward_kl", "reverse_kl", "mse", "cosine", "top_k_kl", "cross_entropy")
TAILS = ("renormalise", "bucket")


@dataclass(frozen=True, kw_only=True)
class IntermediateConfig:
    """A loss on hidden states beside that on logits, for students that lost many layers.

    The student's states go through one learned linear map to the teacher's width, shared by all pairs. Minitron (arXiv
    2407.14679, sections 3 and 4.2) pairs the embeddings and a state near the end (teacher 28-29, student 12-13 of 16),
    with the cosine and a dynamic weight, and found no gain where only width was cut.
    """

    student_states: tuple[int, ...]
    """0: the embeddings; n: the residual stream behind the first n layers."""

    teacher_states: tuple[int, ...]
    """The teacher's state that each of them is to resemble."""

    distance: Literal["cosine", "mse"] = "cosine"
    """`cosine`: 1 - cos(W x, y); `mse`: |W x - y|^2 / |y|^2, of states scaled to a root mean square of 1."""

    weight: float | None = None
    """Factor of the mean over pairs (null: so that the term is as large as the logits' loss, in every micro-batch)."""

    def __post_init__(self) -> None:
        states = (*self.student_states, *self.teacher_states)
        if not self.student_states or len(self.student_states) != len(self.teacher_states) or min(states) < 0:
            raise InputError(
                "IntermediateConfig: student_states and teacher_states must be as many, at least one, from 0; "
                f"got {self.student_states} and {self.teacher_states}"
            )
        if self.distance not in ("cosine", "mse"):
            raise InputError(f"IntermediateConfig.distance: {self.distance!r} is not cosine or mse")
        if self.weight is not None:
            check_range(self, "weight", 0.0, above=True)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What brings the student nearer to its teacher. `kernels.distill_loss` defines the kinds.

    Forward KL on all logits and nothing else is best in Minitron (arXiv 2407.14679, table 5 and section 4.2); the
    others are there to compare.
    """

    kind: Literal["forward_kl", "reverse_kl", "mse", "cosine", "top_k_kl", "cross_entropy"] = "forward_kl"
    """`cross_entropy` trains on the labels alone: what distillation is compared with."""

    top_k: int = 64
    """Of `top_k_kl`: how many of the teacher's most likely tokens count."""

    tail: Literal["renormalise", "bucket"] = "renormalise"
    """Of `top_k_kl`: both distributions are renormalised over these tokens, or all others are one outcome more."""

    ce_weight: float = 0.0
    """Times the cross-entropy of the labels that is added."""

    intermediate: IntermediateConfig | None = None

    def __post_init__(self) -> None:
        if self.kind not in LOSSES:
            raise InputError(f"LossConfig.kind: {self.kind!r} is not one of {', '.join(LOSSES)}")
        if self.tail not in TAILS:
            raise InputError(f"LossConfig.tail: {self.tail!r} is not one of {', '.join(TAILS)}")
        check_range(self, "top_k", 1)
        check_range(self, "ce_weight", 0.0)
        if self.kind == "cross_entropy" and (self.ce_weight or self.intermediate is not None):
            raise InputError("LossConfig.kind: cross_entropy goes without ce_weight and intermediate")


@dataclass(frozen=True, kw_only=True)
class DistillConfig(RunConfig):
    """A distillation run.

    Temperature 1, forward KL alone and a cosine down from the end of the warm-up are Minitron's (arXiv 2407.14679,
    section 4); a peak of about a fifth of pretraining's is the rule of thumb of NVIDIA's Model Optimizer.
    """

    optimizer: AdamWConfig = AdamWConfig(peak_lr=6e-4)
    schedule: WSDConfig = WSDConfig(warmup_steps=10, decay_fraction=1.0, decay_shape="cosine")
    total_tokens: int = 500_000
    loss: LossConfig = LossConfig()
    teacher: Literal["online", "cached"] = "online"
    """Whether the teacher runs beside the student, or its logits were kept (`ops.teacher_logits`), of which only the
    loss `top_k_kl` at temperature 1 is made."""

    temperature: float = 1.0
    """Of both distributions."""

    mtp_depths: int = 2
    """Tokens beyond the next one that students with blocks for it go on predicting, by cross-entropy."""

    mtp_loss_scale: float = 0.3
    """Weight of the mean loss of these predictions."""

    phase: int = 2
    """The data phase that is read. Minitron distils a teacher of two phases on its second phase's data alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "temperature", 0.0, above=True)
        if self.temperature != 1 and self.loss.kind in ("mse", "cosine", "cross_entropy"):
            raise InputError(f"DistillConfig.temperature: {self.loss.kind} knows none; leave it at 1")
        if self.teacher not in ("online", "cached"):
            raise InputError(f"DistillConfig.teacher: {self.teacher!r} is not online or cached")
        if self.teacher == "cached" and (
            self.loss.kind != "top_k_kl" or self.temperature != 1 or self.loss.intermediate is not None
        ):
            raise InputError(
                "DistillConfig.teacher: cached logits serve the loss top_k_kl at temperature 1 alone, without "
                "intermediate states"
            )
        check_range(self, "mtp_depths", 1)
        check_range(self, "mtp_loss_scale", 0.0, above=True)
        check_range(self, "phase", 1, 2)
