"""The hybrid language model. Names in its state dict are those of `nemotron_h` checkpoints on disk, but for routed
experts, which are stacked (see model.checkpoint).

Shape suffixes: B batch, L length, D model width, V vocabulary.
"""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kernels.attention import takes_documents
from kernels.softcap import softcap
from model.block import Block, RMSNorm, Visibility
from model.cache import DecodeCache
from model.config import HybridConfig
from model.init import initialise
from model.linear import Linear
from model.moe import not_counting
from model.mtp import MultiTokenPrediction

# Kept in float32 in every precision.
FLOAT32_PARAMETERS = ("A_log", "D", "dt_bias")


class Backbone(nn.Module):
    """Embeddings, residual layers, final norm."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(
            config.vocab_size, config.d_model, _weight=torch.empty(config.vocab_size, config.d_model)
        )
        self.layers = nn.ModuleList(Block(config, letter) for letter in config.pattern)
        self.norm_f = RMSNorm(config)
        self.activation_checkpointing = False
        """Whether a forward pass keeps each layer's input alone, for a backward pass that makes the inner values again:
        the same gradients, bit for bit, for a third more work and a fraction of the memory."""

    def forward(
        self, input_ids_BL: Tensor, *, visibility: Visibility | None = None, cache: DecodeCache | None = None
    ) -> Tensor:
        x_BLD = self.embeddings(input_ids_BL)
        for index, layer in enumerate(self.layers):
            if self.activation_checkpointing and cache is None and torch.is_grad_enabled():
                x_BLD = _checkpointed(layer, x_BLD, visibility)
                continue
            state = None if cache is None else cache.layers[index]
            x_BLD = layer(x_BLD, visibility=visibility, state=state)
        if cache is not None:
            cache.length += input_ids_BL.shape[1]
        return self.norm_f(x_BLD)


def _checkpointed(layer: nn.Module, x_BLD: Tensor, visibility: Visibility | None) -> Tensor:
    x: Any = checkpoint(
        layer,
        x_BLD,
        visibility=visibility,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), not_counting(layer)),
    )
    return x


class HybridLM(nn.Module):
    """A causal language model of Mamba-2, attention, feed-forward and expert layers.

    The constructor leaves the weights as torch makes them; use `HybridLM.create` for initialised weights and
    `model.checkpoint.load_checkpoint` for trained ones.
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.lm_head = Linear(config.d_model, config.vocab_size)
        self.mtp = MultiTokenPrediction(config) if config.num_nextn_predict_layers else None
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
        which are in float32 at least. The routers' correction biases stay in float32."""
        for name, parameter in self.named_parameters():
            keep = name.rpartition(".")[2] in FLOAT32_PARAMETERS
            parameter.data = parameter.data.to(torch.promote_types(dtype, torch.float32) if keep else dtype)
        return self

    def hidden_states(
        self,
        input_ids_BL: Tensor,
        *,
        seq_idx_BL: Tensor | None = None,
        attention_mask_BL: Tensor | None = None,
        cache: DecodeCache | None = None,
    ) -> Tensor:
        """The output of the final norm, hidden_BLD: what the chunked losses of kernels.linear_loss take together
        with `lm_head.weight` and `config.final_logit_softcapping`.

        `seq_idx_BL` numbers the documents of packed rows: no layer lets one see another. `attention_mask_BL` is 0 for
        padding, which must be on the left, and 1 for text; the hidden states of padding mean nothing. `cache`
        continues the sequences that it holds and is updated in place; an empty one remembers the padding, later calls
        do without the mask.

        Raises ValueError for padding on the right, for a row without text, and for arguments that do not combine.
        """
        if cache is not None and seq_idx_BL is not None:
            raise ValueError("seq_idx_BL cannot be combined with cache: decode packed documents separately")
        if attention_mask_BL is not None and seq_idx_BL is not None:
            raise ValueError("attention_mask_BL cannot be combined with seq_idx_BL")
        visibility = None
        if seq_idx_BL is not None:
            visibility = Visibility.of_documents(seq_idx_BL, mask=self._masked())
        elif attention_mask_BL is not None:
            text_BL = _text(attention_mask_BL, input_ids_BL)
            if cache is not None:
                if cache.length:
                    raise ValueError("attention_mask_BL belongs to the first tokens of a cache, not to later ones")
                cache.padding_B = (~text_BL).sum(1)
                cache.padded = not bool(text_BL.all())
            if not bool(text_BL.all()):
                visibility = Visibility.of_padded_rows(text_BL, mask=self._masked())
        elif cache is not None and cache.padded:
            length = input_ids_BL.shape[1]
            visibility = Visibility.behind_padding(cache.padding_B, cache.length, length, mask=self._masked())
        return self.backbone(input_ids_BL, visibility=visibility, cache=cache)

    def _masked(self) -> bool:
        """Whether attention reads masks of all pairs of positions: that in C++ does not."""
        weight = self.lm_head.weight
        other_type = torch.is_autocast_enabled(weight.device.type)
        capped = self.config.attn_logit_softcapping is not None
        return capped or other_type or not takes_documents(weight.device, weight.dtype)

    def mtp_hidden_states(
        self, hidden_BLD: Tensor, input_ids_BL: Tensor, *, depths: int = 1, seq_idx_BL: Tensor | None = None
    ) -> list[Tensor]:
        """For k = 1 ... `depths` the hidden_BLD from which `lm_head` predicts, at position i, token i + k + 1.

        `hidden_BLD` is what `hidden_states` returned. The last k positions of a row or document know no token k
        positions later: what stands there means nothing.

        Raises ValueError for a network without multi-token prediction.
        """
        if self.mtp is None:
            raise ValueError("num_nextn_predict_layers is 0: the network has no multi-token prediction")
        visibility = None
        if seq_idx_BL is not None:
            visibility = Visibility.of_documents(seq_idx_BL, mask=self._masked())
        found = []
        for depth in range(depths):
            later_BL = torch.zeros_like(input_ids_BL)
            later_BL[:, : -depth - 1] = input_ids_BL[:, depth + 1 :]
            embedding_BLD = self.backbone.embeddings(later_BL)
            hidden_BLD = self.mtp(hidden_BLD, embedding_BLD, depth=depth, visibility=visibility)
            found.append(hidden_BLD)
        return found

    def forward(
        self,
        input_ids_BL: Tensor,
        *,
        seq_idx_BL: Tensor | None = None,
        attention_mask_BL: Tensor | None = None,
        cache: DecodeCache | None = None,
    ) -> Tensor:
        """Logits_BLV of the next token at every position; arguments as in `hidden_states`."""
        hidden_BLD = self.hidden_states(
            input_ids_BL, seq_idx_BL=seq_idx_BL, attention_mask_BL=attention_mask_BL, cache=cache
        )
        return self.logits(hidden_BLD)

    def logits(self, hidden_BLD: Tensor) -> Tensor:
        """Logits of the vocabulary from the output of the final norm, capped where the configuration says so."""
        return softcap(self.lm_head(hidden_BLD), self.config.final_logit_softcapping)


def _text(attention_mask_BL: Tensor, input_ids_BL: Tensor) -> Tensor:
    """The mask as booleans, checked."""
    if attention_mask_BL.shape != input_ids_BL.shape:
        raise ValueError(
            f"attention_mask_BL has shape {tuple(attention_mask_BL.shape)}, the tokens {tuple(input_ids_BL.shape)}"
        )
    text_BL = attention_mask_BL != 0
    if not bool(text_BL[:, -1].all()) or bool((text_BL[:, :-1] & ~text_BL[:, 1:]).any()):
        raise ValueError("attention_mask_BL must be zeros on the left and then ones, at least one in every row")
    return text_BL
