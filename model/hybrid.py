"""The hybrid language model. Names in its state dict are those of `nemotron_h` checkpoints on disk.

Shape suffixes: B batch, L length, D model width, V vocabulary.
"""

import torch
from torch import Tensor, nn

from kernels.rmsnorm import rms_norm
from model.attention import Attention, document_mask
from model.cache import AttentionState, DecodeCache, MambaState
from model.config import HybridConfig
from model.ffn import FeedForward
from model.init import initialise
from model.mamba2 import Mamba2Mixer

MIXERS: dict[str, type[Mamba2Mixer | Attention | FeedForward]] = {
    "M": Mamba2Mixer,
    "*": Attention,
    "-": FeedForward,
}

# Kept in float32 in every precision.
FLOAT32_PARAMETERS = ("A_log", "D", "dt_bias")


class RMSNorm(nn.Module):
    """weight * x / sqrt(mean(x^2) + eps), in float32."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.eps = config.layer_norm_epsilon

    def forward(self, x_BLD: Tensor) -> Tensor:
        return rms_norm(x_BLD, self.weight, eps=self.eps)


class Block(nn.Module):
    """One residual layer: x + mixer(norm(x))."""

    def __init__(self, config: HybridConfig, letter: str) -> None:
        super().__init__()
        self.norm = RMSNorm(config)
        self.mixer = MIXERS[letter](config)

    def forward(
        self,
        x_BLD: Tensor,
        *,
        seq_idx_BL: Tensor | None = None,
        mask_B1LL: Tensor | None = None,
        state: MambaState | AttentionState | None = None,
    ) -> Tensor:
        normed_BLD = self.norm(x_BLD)
        if isinstance(self.mixer, Mamba2Mixer):
            assert state is None or isinstance(state, MambaState)
            return x_BLD + self.mixer(normed_BLD, seq_idx_BL=seq_idx_BL, state=state)
        if isinstance(self.mixer, Attention):
            assert state is None or isinstance(state, AttentionState)
            return x_BLD + self.mixer(normed_BLD, mask_B1LL=mask_B1LL, state=state)
        return x_BLD + self.mixer(normed_BLD)


class Backbone(nn.Module):
    """Embeddings, residual layers, final norm."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(
            config.vocab_size, config.d_model, _weight=torch.empty(config.vocab_size, config.d_model)
        )
        self.layers = nn.ModuleList(Block(config, letter) for letter in config.pattern)
        self.norm_f = RMSNorm(config)

    def forward(
        self, input_ids_BL: Tensor, *, seq_idx_BL: Tensor | None = None, cache: DecodeCache | None = None
    ) -> Tensor:
        x_BLD = self.embeddings(input_ids_BL)
        mask_B1LL = None if seq_idx_BL is None else document_mask(seq_idx_BL)
        for index, layer in enumerate(self.layers):
            state = None if cache is None else cache.layers[index]
            x_BLD = layer(x_BLD, seq_idx_BL=seq_idx_BL, mask_B1LL=mask_B1LL, state=state)
        if cache is not None:
            cache.length += input_ids_BL.shape[1]
        return self.norm_f(x_BLD)


class HybridLM(nn.Module):
    """A causal language model of Mamba-2, attention and feed-forward layers.

    The constructor leaves the weights as torch makes them; use `HybridLM.create` for initialised weights and
    `model.checkpoint.load_checkpoint` for trained ones.
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.tie_weights()

    @classmethod
    def create(cls, config: HybridConfig, *, seed: int, device: torch.device | str = "cpu") -> "HybridLM":
        """A float32 model initialised from `seed` (see model.init); the same weights on every device."""
        with torch.device("meta"):
            model = cls(config)
        model.to_empty(device="cpu")
        model.tie_weights()
        initialise(model, config, torch.Generator().manual_seed(seed))
        return model.to(device)

    def tie_weights(self) -> None:
        """Make the output projection the embedding matrix, where the configuration says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.backbone.embeddings.weight

    def cast(self, dtype: torch.dtype) -> "HybridLM":
        """Change the type of the parameters in place, but for A_log, D and dt_bias of the Mamba-2 layers,
        which are in float32 at least."""
        for name, parameter in self.named_parameters():
            keep = name.rpartition(".")[2] in FLOAT32_PARAMETERS
            parameter.data = parameter.data.to(torch.promote_types(dtype, torch.float32) if keep else dtype)
        return self

    def hidden_states(
        self, input_ids_BL: Tensor, *, seq_idx_BL: Tensor | None = None, cache: DecodeCache | None = None
    ) -> Tensor:
        """The output of the final norm, hidden_BLD: what the chunked losses of kernels.linear_loss take together
        with `lm_head.weight`.

        `seq_idx_BL` numbers the documents of packed rows: no layer lets one see another. `cache` continues the
        sequences that it holds and is updated in place; it cannot be combined with `seq_idx_BL`.
        """
        if cache is not None and seq_idx_BL is not None:
            raise ValueError("seq_idx_BL cannot be combined with cache: decode packed documents separately")
        return self.backbone(input_ids_BL, seq_idx_BL=seq_idx_BL, cache=cache)

    def forward(
        self, input_ids_BL: Tensor, *, seq_idx_BL: Tensor | None = None, cache: DecodeCache | None = None
    ) -> Tensor:
        """Logits_BLV of the next token at every position; arguments as in `hidden_states`."""
        return self.lm_head(self.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL, cache=cache))
