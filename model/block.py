"""One residual layer, and the masks that keep documents and padding apart.

Shape suffixes: B batch, L length, T positions so far, D model width.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kernels.attention import visible
from kernels.rmsnorm import rms_norm
from model.attention import Attention
from model.cache import AttentionState, MambaState
from model.config import HybridConfig
from model.ffn import FeedForward
from model.mamba2 import Mamba2Mixer
from model.moe import MixtureOfExperts

MIXERS: dict[str, type[Mamba2Mixer | Attention | FeedForward | MixtureOfExperts]] = {
    "M": Mamba2Mixer,
    "*": Attention,
    "-": FeedForward,
    "E": MixtureOfExperts,
}


@dataclass(frozen=True, kw_only=True)
class Visibility:
    """Who sees whom in a forward pass; all None: each position sees those before it and itself.

    The constructors make `mask_B1LT` once for all layers where `mask` says that their attention reads it.
    """

    seq_idx_BL: Tensor | None = None
    """Numbers of documents, or 0 for padding and 1 for text, for layers that have a state."""

    seq_idx_BT: Tensor | None = None
    """The same for attention: of all positions so far."""

    mask_B1LT: Tensor | None = None
    """Which positions attention sees, as `seq_idx_BT` has it."""

    text_BL1: Tensor | None = None
    """False where padding is, which no layer may read."""

    @classmethod
    def of_documents(cls, seq_idx_BL: Tensor, *, mask: bool = True) -> "Visibility":
        """Packed documents do not see one another."""
        mask_B1LT = visible(seq_idx_BL.shape[1], seq_idx_BL) if mask else None
        return cls(seq_idx_BL=seq_idx_BL, seq_idx_BT=seq_idx_BL, mask_B1LT=mask_B1LT)

    @classmethod
    def of_padded_rows(cls, text_BL: Tensor, *, mask: bool = True) -> "Visibility":
        """Rows that are padded on the left: padding is a document of its own, with zeros in front of each layer."""
        return replace(cls.of_documents(text_BL.long(), mask=mask), text_BL1=text_BL[..., None])

    @classmethod
    def behind_padding(cls, padding_B: Tensor, past: int, length: int, *, mask: bool = True) -> "Visibility":
        """`length` positions after `past` kept ones, of which row b's first padding_B[b] are padding."""
        seq_idx_BT = (torch.arange(past + length, device=padding_B.device) >= padding_B[:, None]).long()
        return cls(seq_idx_BT=seq_idx_BT, mask_B1LT=visible(length, seq_idx_BT) if mask else None)


class RMSNorm(nn.Module):
    """weight * x / sqrt(mean(x^2) + eps), in float32."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.eps = config.layer_norm_epsilon

    def forward(self, x_BLD: Tensor) -> Tensor:
        return rms_norm(x_BLD, self.weight, eps=self.eps)


class Block(nn.Module):
    """One residual layer: x + mixer(norm(x)); attention that norms queries, keys and values has no norm in front. With
    `output_norm`, x + output_norm(mixer(norm(x)))."""

    def __init__(self, config: HybridConfig, letter: str) -> None:
        super().__init__()
        inside = letter == "*" and config.attention_norm == "qkv"
        self.norm = nn.Identity() if inside else RMSNorm(config)
        self.mixer = MIXERS[letter](config)
        self.output_norm = RMSNorm(config) if config.output_norm else None

    def forward(
        self,
        x_BLD: Tensor,
        *,
        visibility: Visibility | None = None,
        state: MambaState | AttentionState | None = None,
    ) -> Tensor:
        """`state` continues the sequences that it holds, and is updated."""
        visibility = visibility or Visibility()
        normed_BLD = self.norm(x_BLD)
        if isinstance(self.mixer, Mamba2Mixer):
            assert state is None or isinstance(state, MambaState)
            if visibility.text_BL1 is not None:
                normed_BLD = normed_BLD * visibility.text_BL1
            return x_BLD + self._added(self.mixer(normed_BLD, seq_idx_BL=visibility.seq_idx_BL, state=state))
        if isinstance(self.mixer, Attention):
            assert state is None or isinstance(state, AttentionState)
            seq_idx_BT, mask_B1LT = visibility.seq_idx_BT, visibility.mask_B1LT
            return x_BLD + self._added(self.mixer(normed_BLD, seq_idx_BT=seq_idx_BT, mask_B1LT=mask_B1LT, state=state))
        return x_BLD + self._added(self.mixer(normed_BLD))

    def _added(self, y_BLD: Tensor) -> Tensor:
        return y_BLD if self.output_norm is None else self.output_norm(y_BLD)
