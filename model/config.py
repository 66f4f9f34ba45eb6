"""The description of a hybrid network; imports no torch, so that recipes can use it.

A pattern string names one residual layer per character: `M` Mamba-2, `-` feed-forward (squared ReLU),
`*` grouped-query attention without positional embedding (Nemotron-H, arXiv 2504.03624, section 2.1),
`E` mixture of experts (Nemotron 3, arXiv 2512.20856).
"""

import math
from dataclasses import dataclass
from typing import Any

from model.config_checks import check_config

OWN_OPTIONS: dict[str, Any] = {
    "attention_norm": "none",
    "output_norm": False,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
}
"""Options that `nemotron_h` cannot describe, and the values that leave them off."""


def width_scaled_std(d_model: int) -> float:
    """Standard deviation sqrt(0.8 / d_model): the rule that the published initialisations of the family obey
    (0.014 at 4096, 0.0099 at 8192, 0.0125 at 5120)."""
    return math.sqrt(0.8 / d_model)


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """Dimensions of one network. Sizes are in channels, heads or tokens.

    `mamba_num_heads * mamba_head_dim` is the inner width of the Mamba-2 layers (`d_inner`), which share B and C
    within `n_groups` groups of heads. `chunk_size` is the chunk of the SSD scan: it changes speed and rounding
    alone. The fields of the experts matter to patterns with an `E` alone, `intermediate_size` to those with a `-`.
    Raises ValueError that names the field.
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

    attention_norm: str = "none"
    """Against growing activations at high learning rates (arXiv 2410.16682): `none`, as in all published models; `qk`
    norms each head's queries and keys; `qkv` norms queries, keys and values in place of the norm in front of the layer.
    Networks with such norms, or one of the next three options, are no `nemotron_h`: no other program reads their
    checkpoints."""

    output_norm: bool = False
    """Whether what a layer adds to the residual stream is normed (the paper's norms after Proj and FC2; here after the
    output projection of every kind of layer)."""

    attn_logit_softcapping: float | None = None
    """Attention scores s become cap * tanh(s / cap) in front of the softmax (50 in Gemma 2, arXiv 2408.00118; with
    `attention_norm="qk"` the QK-norm-cap of arXiv 2410.16682). Attention then runs without a fused kernel."""

    final_logit_softcapping: float | None = None
    """The same for the logits of the vocabulary, everywhere: losses, evaluation, generation (30 in Gemma 2, 15 in
    nanochat)."""

    n_routed_experts: int = 0
    """Experts of an `E` layer that the router chooses from."""

    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    """Hidden width of one routed expert."""

    moe_shared_expert_intermediate_size: int = 0
    """Hidden width of the expert that sees every token."""

    moe_latent_size: int | None = None
    """Width in which the routed experts work, after a projection from `d_model` and before one back (LatentMoE,
    arXiv 2601.18089); None: `d_model` itself."""

    routed_scaling_factor: float = 1.0
    norm_topk_prob: bool = True
    """Whether the weights of the chosen experts are divided by their sum."""

    n_group: int = 1
    """The router first chooses `topk_group` of so many equal groups of experts."""

    topk_group: int = 1

    num_nextn_predict_layers: int = 0
    """Blocks for multi-token prediction: 0 none, 1 one block that is applied again for every further token."""

    mtp_hybrid_override_pattern: str = "*E"
    """The layers of such a block."""

    def __post_init__(self) -> None:
        check_config(self)

    @property
    def own_options(self) -> dict[str, Any]:
        """Those of OWN_OPTIONS that are on: empty for a network that is a `nemotron_h`."""
        return {name: getattr(self, name) for name, off in OWN_OPTIONS.items() if getattr(self, name) != off}

    @property
    def mtp_pattern(self) -> str:
        """The layers of all blocks for multi-token prediction, in the order of their numbers in a checkpoint."""
        return self.num_nextn_predict_layers * self.mtp_hybrid_override_pattern

    @property
    def has_experts(self) -> bool:
        return "E" in self.pattern + self.mtp_pattern

    @property
    def expert_dim(self) -> int:
        """Width in which the routed experts work."""
        return self.d_model if self.moe_latent_size is None else self.moe_latent_size

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

    def _linear_params(self, letter: str, *, active: bool = False) -> int:
        """Parameters of the matrices of one layer, or of those that one token meets."""
        if letter == "M":
            return self.d_model * (self.in_proj_dim + self.d_inner)
        if letter == "-":
            return 2 * self.d_model * self.intermediate_size
        if letter == "E":
            experts = self.num_experts_per_tok if active else self.n_routed_experts
            latent = 2 * self.d_model * (self.moe_latent_size or 0)
            router_and_shared = self.d_model * (self.n_routed_experts + 2 * self.moe_shared_expert_intermediate_size)
            return router_and_shared + latent + 2 * experts * self.expert_dim * self.moe_intermediate_size
        heads = 2 * self.num_attention_heads + 2 * self.num_key_value_heads
        return self.d_model * heads * self.head_dim

    def layer_params(self, letter: str, *, active: bool = False) -> int:
        """Parameters of one residual layer of this kind, its norms included; `active`: those that one token meets."""
        extra = self.d_model * (2 if self.output_norm else 1)
        if letter == "M":
            extra += self.conv_dim * (self.conv_kernel + 1) + 3 * self.mamba_num_heads + self.d_inner
        elif letter == "*":
            extra += {"none": 0, "qk": 2 * self.head_dim, "qkv": 3 * self.head_dim - self.d_model}[self.attention_norm]
        return self._linear_params(letter, active=active) + extra

    def num_params(self) -> int:
        """Parameters of the whole network, multi-token prediction included; a tied output projection counts once.

        The router's correction biases are no parameters: no gradient reaches them.
        """
        matrices = 1 if self.tie_word_embeddings else 2
        layers = sum(self.layer_params(letter) for letter in self.pattern)
        return layers + matrices * self.vocab_size * self.d_model + self.d_model + self.mtp_params()

    def mtp_params(self) -> int:
        """Parameters of the blocks for multi-token prediction, which published totals leave out."""
        joints = self.num_nextn_predict_layers * (2 * self.d_model**2 + 3 * self.d_model)
        return joints + sum(self.layer_params(letter) for letter in self.mtp_pattern)

    def num_active_params(self) -> int:
        """Parameters that the prediction of one token meets: the chosen experts alone, the output projection but
        not the table of embeddings, and no multi-token prediction."""
        layers = sum(self.layer_params(letter, active=True) for letter in self.pattern)
        return layers + self.vocab_size * self.d_model + self.d_model

    def flops_per_token(self, seq_len: int) -> int:
        """FLOPs of the forward pass per token at this sequence length.

        Counts, as 2 per multiply-add: every matrix that the token meets (the output projection included, the
        embedding look-up and experts that are not chosen not), the convolution, attention scores and values over
        the whole `seq_len` (not halved for causality, the usual convention), and the SSD scan: 2 Q (G N + H P)
        inside a chunk of Q positions plus 4 N H P for the state. Norms and activations are left out, and so is
        multi-token prediction.
        """
        return 2 * self.vocab_size * self.d_model + self._layer_flops(self.pattern, seq_len)

    def _layer_flops(self, pattern: str, seq_len: int) -> int:
        total = 0
        for letter in pattern:
            total += 2 * self._linear_params(letter, active=True)
            if letter == "M":
                chunk = min(self.chunk_size, seq_len)
                total += 2 * self.conv_kernel * self.conv_dim
                total += 2 * chunk * (self.n_groups * self.ssm_state_size + self.d_inner)
                total += 4 * self.ssm_state_size * self.d_inner
            elif letter == "*":
                total += 4 * self.num_attention_heads * self.head_dim * seq_len
        return total

    def training_flops_per_token(self, seq_len: int, *, mtp_depths: int = 0) -> int:
        """FLOPs of forward and backward per token: three times the forward pass, that of `mtp_depths` further
        predictions included."""
        block = self._layer_flops(self.mtp_hybrid_override_pattern, seq_len) if mtp_depths else 0
        block += 4 * self.d_model**2 + 2 * self.vocab_size * self.d_model
        return 3 * (self.flops_per_token(seq_len) + mtp_depths * block)

    def cache_bytes(self, context: int, batch: int = 1, *, kv_bytes: int = 2, state_bytes: int = 4) -> int:
        """Bytes that decoding keeps for `batch` sequences of `context` tokens.

        Keys, values and the convolution's inputs take `kv_bytes` per number, SSM states `state_bytes`.
        """
        attention = 2 * self.num_key_value_heads * self.head_dim * context * kv_bytes
        mamba = self.d_inner * self.ssm_state_size * state_bytes
        mamba += self.conv_dim * (self.conv_kernel - 1) * kv_bytes
        return batch * (self.pattern.count("*") * attention + self.pattern.count("M") * mamba)

    def weight_bytes(self, *, param_bytes: int = 2) -> int:
        """Bytes of the weights in memory, multi-token prediction included, at `param_bytes` per number. A_log, D and
        dt_bias of the Mamba-2 layers and the routers' correction biases take 4 at least."""
        layers = self.pattern + self.mtp_pattern
        wide = 3 * self.mamba_num_heads * layers.count("M")
        biases = self.n_routed_experts * layers.count("E")
        return (self.num_params() - wide) * param_bytes + wide * max(4, param_bytes) + biases * 4

    def memory_bytes(
        self, context: int, batch: int = 1, *, param_bytes: int = 2, kv_bytes: int = 2, state_bytes: int = 4
    ) -> int:
        """Bytes that decoding `batch` sequences of `context` tokens holds: the weights, and what is kept between tokens
        (keys and values, SSM states, inputs of the convolutions)."""
        cache = self.cache_bytes(context, batch, kv_bytes=kv_bytes, state_bytes=state_bytes)
        return self.weight_bytes(param_bytes=param_bytes) + cache
