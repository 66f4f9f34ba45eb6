"""What a correction of a teacher is made of."""

from dataclasses import dataclass

from ops.train.config import AdamWConfig, RunConfig, WSDConfig, check_range


@dataclass(frozen=True, kw_only=True)
class CorrectConfig(RunConfig):
    """A correction run. Llama-3.1-8B took 100 B tokens of it before Minitron distilled from it, at a learning rate of
    the end of a pretraining run (arXiv 2408.11796, section 4)."""

    optimizer: AdamWConfig = AdamWConfig(peak_lr=3e-4)
    schedule: WSDConfig = WSDConfig(warmup_steps=10, decay_fraction=1.0, decay_shape="cosine")
    total_tokens: int = 500_000
    phase: int = 2
    """The data phase that is read: that of the distillation."""

    mtp_depths: int = 2
    """Tokens beyond the next one that teachers with blocks for it go on predicting."""

    mtp_loss_scale: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "phase", 1, 2)
        check_range(self, "mtp_depths", 1)
        check_range(self, "mtp_loss_scale", 0.0, above=True)
