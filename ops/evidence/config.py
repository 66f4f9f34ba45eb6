"""What the experiments are made of: networks, tokens, seeds, and how certain an outcome has to be."""

from dataclasses import dataclass

from model.config import HybridConfig, width_scaled_std
from ops.errors import InputError
from ops.train.config import check_range

CLAIMS = (
    "recipe",
    "token_saving",
    "importance",
    "group_aware",
    "depth",
    "width_or_depth",
    "losses",
    "teacher_correction",
)

SMALL = HybridConfig(
    pattern="M-M-*-M-M-*-",
    vocab_size=4096,
    d_model=64,
    intermediate_size=192,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    mamba_num_heads=16,
    mamba_head_dim=8,
    ssm_state_size=16,
    n_groups=4,
    chunk_size=32,
    initializer_range=width_scaled_std(64),
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=1,
)
"""0.8 M parameters. Four groups of Mamba heads, so that an order across groups has something to break."""


@dataclass(frozen=True, kw_only=True)
class TeachersConfig:
    """Several teachers of one shape. What is tried on them is not part of their identity."""

    model: HybridConfig = SMALL
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Of initial weights and data order. Claims that hold for one teacher may fail for the next."""

    tokens: int = 1_000_000
    lr: float = 4e-3
    batch_size: int = 8
    seq_len: int = 128
    calibration_samples: int = 256

    def __post_init__(self) -> None:
        if len(set(self.seeds)) != len(self.seeds) or len(self.seeds) < 2:
            raise InputError("TeachersConfig.seeds: needs at least two, all different")
        for name in ("tokens", "batch_size", "seq_len", "calibration_samples"):
            check_range(self, name, 1)
        check_range(self, "lr", 0.0, above=True)


@dataclass(frozen=True, kw_only=True)
class EvidenceConfig:
    """One laboratory: every claim is tried on the same teachers, with the same held-out text, in batches of the same
    size as theirs."""

    teachers: TeachersConfig = TeachersConfig()
    replicates: int = 5
    """Of every arm that trains. Replicate r is cut from teacher r modulo their number and reads its batches in an order
    of its own; the arms of a comparison share both."""

    steps: int = 100
    """Of every arm that trains. The curve is read at a quarter, half and all of them."""

    student_lr: float = 1e-3
    scratch_lr: float = 4e-3
    scratch_factor: int = 4
    """`token_saving` trains from scratch for so many times `steps`."""

    keep: float = 0.5
    """Share of an axis that is kept where one axis is cut, rounded to a valid size."""

    random_draws: int = 20
    """Of the null distribution of each axis and teacher: at least 20."""

    held_out_sequences: int = 192
    """Rows of the validation split that every loss is measured on."""

    confidence: float = 0.95
    power: float = 0.01
    """Nats per token: what the cut itself must cost for a comparison of ways to cut, or to recover, to be read."""

    def __post_init__(self) -> None:
        check_range(self, "held_out_sequences", 1)
        check_range(self, "replicates", 2)
        check_range(self, "steps", 4)
        check_range(self, "scratch_factor", 1)
        check_range(self, "random_draws", 2)
        check_range(self, "keep", 0.0, 1.0, above=True)
        check_range(self, "confidence", 0.5, 0.999)
        check_range(self, "power", 0.0)
        for name in ("student_lr", "scratch_lr"):
            check_range(self, name, 0.0, above=True)

    @property
    def model(self) -> HybridConfig:
        return self.teachers.model

    @property
    def marks(self) -> tuple[int, ...]:
        """Steps at which a run is measured."""
        return (self.steps // 4, self.steps // 2, self.steps)


@dataclass(frozen=True, kw_only=True)
class ClaimConfig:
    """One claim, tried in one laboratory."""

    evidence: EvidenceConfig
    claim: str

    def __post_init__(self) -> None:
        if self.claim not in CLAIMS:
            raise InputError(f"ClaimConfig.claim: {self.claim!r} is not one of {', '.join(CLAIMS)}")


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """All claims in one table; their p-values are adjusted as one family."""

    confidence: float = 0.95
