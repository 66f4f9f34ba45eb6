"""The description of a hybrid network; imports no torch, so that recipes can use it.

A pattern string names one residual layer per character: `M` Mamba-2, `-` feed-forward (squared ReLU),
`*` grouped-query attention without positional embedding. Nemotron-H, arXiv 2504.03624, section 2.1.
"""

import math
from dataclasses import dataclass

LAYER_KINDS = {"M": "Mamba-2", "-": "feed-forward", "*": "attention"}


def width_scaled_std(d_model: int) -> float:
    """Standard deviation sqrt(0.8 / d_model): the rule that the published initialisations of the family obey
    (0.014 at 4096, 0.0099 at 8192, 0.0125 at 5120)."""
    return math.sqrt(0.8 / d_model)


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """Dimensions of one network. Sizes are in channels, heads or tokens.

    `mamba_num_heads * mamba_head_dim` is the inner width of the Mamba-2 layers (`d_inner`), which share B and C
    within `n_groups` groups of heads. `chunk_size` is the chunk of the SSD scan: it changes speed and rounding
    alone. Raises ValueError that names the field.
    """

    pattern: str
    vocab_size: int
    d_model: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    mamba_num_heads: int
    mamba_head_dim: int
    ssm_state_size: int
    n_groups: int
    conv_kernel: int = 4
    chunk_size: int = 128
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    max_position_embeddings: int = 8192
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    pad_token_id: int | None = 0

    def __post_init__(self) -> None:
        self._check_pattern()
        sizes = (
            "vocab_size d_model intermediate_size num_attention_heads num_key_value_heads head_dim "
            "mamba_num_heads mamba_head_dim ssm_state_size n_groups conv_kernel chunk_size max_position_embeddings"
        )
        for name in sizes.split():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        if self.conv_kernel < 2:
            raise ValueError(f"conv_kernel must be at least 2, got {self.conv_kernel}")
        for name in ("layer_norm_epsilon", "initializer_range"):
            value = getattr(self, name)
            if not isinstance(value, float) or not 0 < value < 1:
                raise ValueError(f"{name} must be a float between 0 and 1, got {value!r}")
        if not isinstance(self.tie_word_embeddings, bool):
            raise ValueError(f"tie_word_embeddings must be true or false, got {self.tie_word_embeddings!r}")
        for name, divisor in (("num_attention_heads", "num_key_value_heads"), ("mamba_num_heads", "n_groups")):
            if getattr(self, name) % getattr(self, divisor):
                raise ValueError(
                    f"{name} ({getattr(self, name)}) must be a multiple of {divisor} ({getattr(self, divisor)})"
                )
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < self.vocab_size:
                raise ValueError(f"{name} must be None or in [0, {self.vocab_size}), got {value!r}")

    def _check_pattern(self) -> None:
        if not isinstance(self.pattern, str) or not self.pattern:
            raise ValueError(f"pattern must name at least one layer, got {self.pattern!r}")
        known = ", ".join(f"{letter!r} {kind}" for letter, kind in LAYER_KINDS.items())
        for position, letter in enumerate(self.pattern):
            if letter == "E":
                raise ValueError(
                    f"pattern: 'E' (mixture of experts) at position {position} is not supported; known: {known}"
                )
            if letter not in LAYER_KINDS:
                raise ValueError(f"pattern: unknown letter {letter!r} at position {position}; known: {known}")

    @property
    def num_layers(self) -> int:
        return len(self.pattern)

    @property
    def d_inner(self) -> int:
        """Width of a Mamba-2 layer between its projections."""
        return self.mamba_num_heads * self.mamba_head_dim

    @property
    def conv_dim(self) -> int:
        """Channels of the causal convolution: x, B and C."""
        return self.d_inner + 2 * self.n_groups * self.ssm_state_size

    @property
    def in_proj_dim(self) -> int:
        """Output width of the Mamba-2 input projection: z, x, B, C and dt."""
        return self.d_inner + self.conv_dim + self.mamba_num_heads

    def _linear_params(self, letter: str) -> int:
        """Parameters of the matrices of one layer."""
        if letter == "M":
            return self.d_model * (self.in_proj_dim + self.d_inner)
        if letter == "-":
            return 2 * self.d_model * self.intermediate_size
        heads = 2 * self.num_attention_heads + 2 * self.num_key_value_heads
        return self.d_model * heads * self.head_dim

    def layer_params(self, letter: str) -> int:
        """Parameters of one residual layer of this kind, its norm included."""
        extra = self.d_model
        if letter == "M":
            extra += self.conv_dim * (self.conv_kernel + 1) + 3 * self.mamba_num_heads + self.d_inner
        return self._linear_params(letter) + extra

    def num_params(self) -> int:
        """Parameters of the whole network; a tied output projection counts once."""
        matrices = 1 if self.tie_word_embeddings else 2
        layers = sum(self.layer_params(letter) for letter in self.pattern)
        return layers + matrices * self.vocab_size * self.d_model + self.d_model

    def flops_per_token(self, seq_len: int) -> int:
        """FLOPs of the forward pass per token at this sequence length (a training step costs three times that).

        Counts, as 2 per multiply-add: every matrix (the output projection included, the embedding look-up not),
        the convolution, attention scores and values over the whole `seq_len` (not halved for causality, the
        usual convention), and the SSD scan: 2 Q (G N + H P) inside a chunk of Q positions plus 4 N H P for
        the state. Norms and activations are left out.
        """
        total = 2 * self.vocab_size * self.d_model
        for letter in self.pattern:
            total += 2 * self._linear_params(letter)
            if letter == "M":
                chunk = min(self.chunk_size, seq_len)
                total += 2 * self.conv_kernel * self.conv_dim
                total += 2 * chunk * (self.n_groups * self.ssm_state_size + self.d_inner)
                total += 4 * self.ssm_state_size * self.d_inner
            elif letter == "*":
                total += 4 * self.num_attention_heads * self.head_dim * seq_len
        return total

    def training_flops_per_token(self, seq_len: int) -> int:
        """FLOPs of forward and backward per token: three times the forward pass."""
        return 3 * self.flops_per_token(seq_len)

    def cache_bytes(self, context: int, batch: int = 1, *, kv_bytes: int = 2, state_bytes: int = 4) -> int:
        """Bytes that decoding keeps for `batch` sequences of `context` tokens.

        Keys, values and the convolution's inputs take `kv_bytes` per number, SSM states `state_bytes`.
        """
        attention = 2 * self.num_key_value_heads * self.head_dim * context * kv_bytes
        mamba = self.d_inner * self.ssm_state_size * state_bytes
        mamba += self.conv_dim * (self.conv_kernel - 1) * kv_bytes
        return batch * (self.pattern.count("*") * attention + self.pattern.count("M") * mamba)
