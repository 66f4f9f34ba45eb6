"""What an importance pass looks at."""

from dataclasses import dataclass

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ImportanceConfig:
    """The calibration set, taken from the training data."""

    num_samples: int = 1024
    """Packed rows for the width scores and block influence: 1,024 in Minitron (arXiv 2407.14679, section 2)."""

    seq_len: int = 512
    """Tokens per row."""

    batch_size: int = 8
    """Rows per forward pass."""

    seed: int = 0
    """Keys the order of the documents."""

    phase: int = 1
    """The data phase that the rows come from; Minitron takes the teacher's last one (section 4.4)."""

    depth_num_samples: int = 16
    """The first so many of the rows also score the layers by leaving each out, which costs up to
    `depth_steps * number of layers` forward passes over them."""

    depth_steps: int | None = None
    """Iterations of the removal of layers by logit error; the layers that are left then follow in the order of the
    last iteration's errors. None: as many as there are layers but one."""

    def __post_init__(self) -> None:
        for name in ("num_samples", "seq_len", "batch_size", "depth_num_samples"):
            if getattr(self, name) < 1:
                raise InputError(f"ImportanceConfig.{name}: must be at least 1, got {getattr(self, name)}")
        if self.depth_num_samples > self.num_samples:
            raise InputError(
                f"ImportanceConfig.depth_num_samples: {self.depth_num_samples} of only {self.num_samples} samples"
            )
        if self.depth_steps is not None and self.depth_steps < 1:
            raise InputError(f"ImportanceConfig.depth_steps: must be at least 1 or null, got {self.depth_steps}")
