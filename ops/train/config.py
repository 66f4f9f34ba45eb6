"""What a training run is made of: the network, the optimizer, the schedule, the data it sees."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from model.config import HybridConfig, width_scaled_std
from ops.errors import InputError

SMALL_HYBRID = HybridConfig(
    pattern="M-M-M*-M-M-",
    vocab_size=4096,
    d_model=128,
    intermediate_size=384,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    mamba_num_heads=8,
    mamba_head_dim=32,
    ssm_state_size=32,
    n_groups=2,
    chunk_size=64,
    initializer_range=width_scaled_std(128),
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=1,
)
"""About 2 M parameters: what a laptop trains in minutes. Token ids are those of the BPE that `ops.tokenizer` trains."""


def check_range(owner: object, name: str, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Raise InputError that names the field unless low <= value <= high (low < value with `above`)."""
    value: Any = getattr(owner, name)
    if not (low < value if above else low <= value) or not value <= high:
        bounds = f"above {low}" if above else f"at least {low}"
        bounds += f" and at most {high}" if high < math.inf else ""
        raise InputError(f"{type(owner).__name__}.{name}: must be {bounds}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class AdamWConfig:
    """AdamW with decoupled weight decay on matrices alone.

    beta, epsilon, decay and clipping are those of every published recipe of the family (Nemotron-H, arXiv
    2504.03624; Nemotron Nano 2, arXiv 2508.14444; Nemotron 3, arXiv 2512.20856).
    """

    peak_lr: float = 3e-3
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1
    eps: float = 1e-8
    clip_norm: float = 1.0
    """Largest global L2 norm of the gradient; above it the gradient is scaled down to it."""

    def __post_init__(self) -> None:
        check_range(self, "peak_lr", 0.0, above=True)
        for name in ("beta1", "beta2"):
            check_range(self, name, 0.0, 1.0 - 1e-9)
        check_range(self, "weight_decay", 0.0)
        check_range(self, "eps", 0.0, above=True)
        check_range(self, "clip_norm", 0.0, above=True)


@dataclass(frozen=True, kw_only=True)
class WSDConfig:
    """Warm-up, stable, decay: linear from 0, then constant, then down to `min_lr_ratio * peak_lr` in the last step.

    With `decay_fraction=1.0` the decay starts right behind the warm-up, e.g. the cosine of the Minitron recipes.
    """

    warmup_steps: int = 20
    decay_fraction: float = 0.2
    """Share of all steps that decay: 20 % in Nemotron 3."""

    decay_shape: Literal["minus_sqrt", "cosine", "linear"] = "minus_sqrt"
    min_lr_ratio: float = 0.01

    def __post_init__(self) -> None:
        check_range(self, "warmup_steps", 0)
        check_range(self, "decay_fraction", 0.0, 1.0)
        check_range(self, "min_lr_ratio", 0.0, 1.0)
        if self.decay_shape not in ("minus_sqrt", "cosine", "linear"):
            raise InputError(f"WSDConfig.decay_shape: {self.decay_shape!r} is not minus_sqrt, cosine or linear")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What pretraining and distillation have in common. Sizes are in sequences, tokens and steps."""

    optimizer: AdamWConfig = AdamWConfig()
    schedule: WSDConfig = WSDConfig()
    batch_size: int = 16
    """Sequences of an update, over all processes."""

    micro_batch_size: int | None = None
    """Sequences of a forward pass (None: the batch of a process at once). Gradients of micro-batches are summed,
    which rounds differently from one large batch, hence it belongs to the identity of a run."""

    seq_len: int = 256
    total_tokens: int = 2_000_000
    """The run has total_tokens // (batch_size * seq_len) steps."""

    seed: int = 0
    """Of the order of the data and of the initial weights."""

    packing: Literal["stream", "best_fit"] = "stream"
    """How documents fill sequences: end to end, cut where a sequence ends, or whole, by best fit (`ops.data.packing`);
    then sequences end in padding, and `total_tokens` counts it."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products and activations. Parameters, moments, residual stream, norms, router and the scan's state are
    float32 either way. bfloat16 is for GPUs: few CPUs have it, the others emulate it slowly."""

    activation_checkpointing: bool = False
    """Whether each layer's inner values are made again for the backward pass: the same result, bit for bit, for a third
    more work and a fraction of the memory."""

    router_bias_rate: float = 1e-3
    """How far the bias of an expert moves in a step towards an equal share of the tokens, where there are experts; 1e-3
    in Nemotron 3 (arXiv 2512.20856)."""

    keep_every_steps: int | None = None
    """Besides the last weights, those after every so many steps are part of the result (None: none are), each in
    `checkpoints/step-XXXXXXXX` as a `nemotron_h` directory of its own: what `ops.merge` averages."""

    keep_last: int | None = None
    """Only the newest so many of them stay (None: all)."""

    log_every_steps: int = 5
    validate_every_steps: int = 100
    validation_sequences: int = 128
    """At most so many sequences of the validation split."""

    sample_prompts: tuple[str, ...] = ("The derivative of", "Returns the", "Let $x$ be")
    """The finished model continues them greedily, for people."""

    sample_tokens: int = 40

    def __post_init__(self) -> None:
        for name in ("batch_size", "seq_len", "log_every_steps", "validate_every_steps", "validation_sequences"):
            check_range(self, name, 1)
        if self.micro_batch_size is not None:
            check_range(self, "micro_batch_size", 1)
            if self.batch_size % self.micro_batch_size:
                raise InputError(
                    f"{type(self).__name__}.micro_batch_size: {self.micro_batch_size} does not divide "
                    f"the batch_size {self.batch_size}"
                )
        for name in ("keep_every_steps", "keep_last"):
            if getattr(self, name) is not None:
                check_range(self, name, 1)
        check_range(self, "seed", 0)
        if self.packing not in ("stream", "best_fit"):
            raise InputError(f"{type(self).__name__}.packing: {self.packing!r} is not stream or best_fit")
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"{type(self).__name__}.precision: {self.precision!r} is not float32 or bfloat16")
        check_range(self, "router_bias_rate", 0.0)
        check_range(self, "sample_tokens", 1)
        check_range(self, "total_tokens", self.tokens_per_step)
        if self.schedule.warmup_steps > self.num_steps:
            raise InputError(
                f"{type(self).__name__}.schedule.warmup_steps: {self.schedule.warmup_steps} is more than "
                f"the {self.num_steps} steps of the run"
            )

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.seq_len

    @property
    def num_steps(self) -> int:
        return self.total_tokens // self.tokens_per_step

    @property
    def kept_steps(self) -> range:
        """After which steps the weights are in the result, those of the last step apart."""
        if self.keep_every_steps is None:
            return range(0)
        every = range(self.keep_every_steps, self.num_steps, self.keep_every_steps)
        return every if self.keep_last is None else every[-self.keep_last :]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """A pretraining run."""

    model: HybridConfig = SMALL_HYBRID
    z_loss: float = 0.0
    """Coefficient of mean(logsumexp(logits)^2), which keeps the logits small; 1e-4 in PaLM, arXiv 2204.02311."""

    mtp_depths: int = 2
    """Tokens beyond the next one that are predicted in training, where the network has blocks for it; 2 in Nemotron 3
    Super and Ultra, with one block for both."""

    mtp_loss_scale: float = 0.3
    """Weight of the mean loss of these predictions; 0.3 in Nemotron 3 Super, 0.1 in Ultra."""

    phase2_fraction: float | None = None
    """Share of the steps, at the end, that read the second data phase (None: the steps of the decay, as in
    Nemotron 3; 0: none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "z_loss", 0.0)
        check_range(self, "mtp_loss_scale", 0.0, above=True)
        check_range(self, "mtp_depths", max(1, self.model.num_nextn_predict_layers))
        if self.phase2_fraction is not None:
            check_range(self, "phase2_fraction", 0.0, 1.0)
