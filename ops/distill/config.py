"""What a distillation run is made of."""

from dataclasses import dataclass

from ops.train.config import AdamWConfig, RunConfig, WSDConfig, check_range


@dataclass(frozen=True, kw_only=True)
class DistillConfig(RunConfig):
    """A distillation run.

    Temperature 1, forward KL alone and a cosine down from the end of the warm-up are Minitron's (arXiv 2407.14679,
    section 4); a peak of about a fifth of pretraining's is the rule of thumb of NVIDIA's Model Optimizer.
    """

    optimizer: AdamWConfig = AdamWConfig(peak_lr=6e-4)
    schedule: WSDConfig = WSDConfig(warmup_steps=10, decay_fraction=1.0, decay_shape="cosine")
    total_tokens: int = 500_000
    temperature: float = 1.0
    """Of both distributions."""

    phase: int = 2
    """The data phase that is read. Minitron distils a teacher of two phases on its second phase's data alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "temperature", 0.0, above=True)
        check_range(self, "phase", 1, 2)
