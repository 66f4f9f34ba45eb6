"""Multi-token prediction (arXiv 2404.19737; DeepSeek-V3, arXiv 2412.19437, section 2.2) as in Nemotron 3 Super.

From the final hidden state h of position i and the embedding of token i + k, a block makes the hidden state from which
the shared output projection predicts token i + k + 1:

    h_k = final_layernorm(layers(eh_proj([enorm(embedding of token i + k) | hnorm(h_{k-1})])))

Names in the state dict are those of checkpoints on disk: the layers of all blocks in one list, the first of a block
with `enorm`, `hnorm` and `eh_proj`, the last with `final_layernorm`.

Shape suffixes: B batch, L length, D model width.
"""

import torch
from torch import Tensor, nn

from model.block import Block, RMSNorm, Visibility
from model.config import HybridConfig
from model.linear import Linear


class MTPLayer(Block):
    """A residual layer of a block for multi-token prediction."""

    def __init__(self, config: HybridConfig, letter: str, *, first: bool, last: bool) -> None:
        super().__init__(config, letter)
        if first:
            self.enorm, self.hnorm = RMSNorm(config), RMSNorm(config)
            self.eh_proj = Linear(2 * config.d_model, config.d_model)
        if last:
            self.final_layernorm = RMSNorm(config)

    def join(self, embedding_BLD: Tensor, hidden_BLD: Tensor) -> Tensor:
        """The input of a block, from the next token's embedding and the hidden state before it."""
        return self.eh_proj(torch.cat([self.enorm(embedding_BLD), self.hnorm(hidden_BLD)], dim=-1))


class MultiTokenPrediction(nn.Module):
    """The blocks of a network; depth k takes block k modulo their number."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.block_length = len(config.mtp_hybrid_override_pattern)
        self.layers = nn.ModuleList(
            MTPLayer(
                config,
                letter,
                first=index % self.block_length == 0,
                last=(index + 1) % self.block_length == 0,
            )
            for index, letter in enumerate(config.mtp_pattern)
        )

    def forward(
        self, hidden_BLD: Tensor, embedding_BLD: Tensor, *, depth: int, visibility: Visibility | None = None
    ) -> Tensor:
        """The hidden states of depth `depth` (0 is the first) from those of the depth before and the embeddings of
        the tokens `depth + 1` positions later."""
        blocks = len(self.layers) // self.block_length
        start = depth % blocks * self.block_length
        layers = [layer for layer in self.layers[start : start + self.block_length] if isinstance(layer, MTPLayer)]
        x_BLD = layers[0].join(embedding_BLD, hidden_BLD)
        for layer in layers:
            x_BLD = layer(x_BLD, visibility=visibility)
        return layers[-1].final_layernorm(x_BLD)
