"""Sums over documents that can be added up: over batches, over what a killed run had done, over processes.

A sample is one document in one row (`seq_idx` tells them apart), padding is none. Where the literature aggregates a
sequence by the mean of absolute values and a batch by the L2 norm ("L2/mean", the best of Table 13 of Minitron, arXiv
2407.14679), a document of n tokens counts n times:

    score = sqrt( sum over documents of n * (mean over its tokens of |a|)^2 / sum of n )

which is the published rule up to a constant where all samples are equally long, and depends neither on how documents
are packed nor on how rows are split into batches.

Shape suffixes: B rows, L positions, S documents, T real tokens, F rows of work of the experts, G pairs of an expert and
a document, N experts, X any.
"""

import torch
from torch import Tensor

ROOT_OF_SQUARES = frozenset(
    {
        "d_model",
        "intermediate_size",
        "num_attention_heads",
        "mamba_x",
        "moe_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "moe_latent_input",
        "moe_latent_output",
    }
)
"""Statistics that are aggregated as L2/mean; all others are means over tokens."""

TOKENS = "tokens"


class Statistics:
    """Sums over documents in float64, by name `layers.{index}.{statistic}`, with the number of tokens behind them:
    `layers.{index}.tokens` where a layer has its own, else `tokens`."""

    def __init__(self, sums: dict[str, Tensor] | None = None) -> None:
        self.sums = dict(sums) if sums is not None else {TOKENS: torch.zeros((), dtype=torch.float64)}

    def add(self, name: str, value: Tensor) -> None:
        value = value.to("cpu", torch.float64)
        self.sums[name] = self.sums[name] + value if name in self.sums else value

    def merge(self, other: "Statistics") -> None:
        """Add the sums of another pass."""
        for name, value in other.sums.items():
            self.add(name, value)

    def finish(self) -> dict[str, Tensor]:
        """The scores: means over tokens, or their roots.

        Raises ValueError before the first token.
        """
        scores = {}
        for name, total in sorted(self.sums.items()):
            layer, _, statistic = name.rpartition(".")
            if statistic == TOKENS:
                continue
            tokens = self.sums.get(f"{layer}.{TOKENS}", self.sums[TOKENS])
            if tokens == 0:
                raise ValueError(f"{name}: no tokens were seen")
            mean = total / tokens
            scores[name] = mean.sqrt() if statistic in ROOT_OF_SQUARES else mean
        return scores


class Documents:
    """Which document of the batch each token belongs to."""

    def __init__(self, seq_idx_BL: Tensor, valid_BL: Tensor) -> None:
        rows = torch.arange(seq_idx_BL.shape[0], device=seq_idx_BL.device)[:, None]
        keys_BL = rows * (int(seq_idx_BL.max()) + 1) + seq_idx_BL
        self.valid_T = valid_BL.flatten()
        keys = keys_BL.flatten()[self.valid_T]
        _, self.document_T, lengths_S = keys.unique(return_inverse=True, return_counts=True)
        self.weights_S = 1 / lengths_S.double()
        self.num_tokens = len(keys)
        self.padded = self.num_tokens < len(self.valid_T)

    def tokens(self, value_BLX: Tensor) -> Tensor:
        """The values of real tokens, value_TX, in at least float32; of all positions, in rows or one after another."""
        value_TX = value_BLX.flatten(0, -2)
        if self.padded:
            value_TX = value_TX[self.valid_T]
        return value_TX.to(torch.promote_types(value_TX.dtype, torch.float32))

    def _sums(self, value_TX: Tensor) -> Tensor:
        """Sums over the tokens of each document, in float64; in one order whatever the number of threads."""
        sums_SX = value_TX.new_zeros((len(self.weights_S), *value_TX.shape[1:]))
        return sums_SX.index_add_(0, self.document_T, value_TX).double()

    def total(self, value_TX: Tensor) -> Tensor:
        """Sum over all tokens."""
        return self._sums(value_TX).sum(0)

    def squared_means(self, value_TX: Tensor) -> Tensor:
        """sum over documents of n * (mean over tokens)^2 of non-negative values."""
        return torch.einsum("s...,s->...", self._sums(value_TX).square(), self.weights_S)

    def routed(self, positions_F: Tensor) -> tuple[Tensor | None, Tensor]:
        """Of rows at these positions of the batch: which are of real tokens (None: all), and the documents of those."""
        if not self.padded:
            return None, self.document_T[positions_F]
        document_T = torch.full_like(self.valid_T, -1, dtype=torch.long)
        document_T[self.valid_T] = self.document_T
        document_F = document_T[positions_F]
        (real_F,) = (document_F >= 0).nonzero(as_tuple=True)
        return real_F, document_F[real_F]

    def squared_means_by_expert(
        self, value_FX: Tensor, experts_F: Tensor, document_F: Tensor, num_experts: int
    ) -> Tensor:
        """`squared_means` for each expert, whose value is 0 for tokens that it does not get."""
        keys_F = experts_F * len(self.weights_S) + document_F
        keys_G, group_F = keys_F.unique_consecutive(return_inverse=True)
        sums_GX = value_FX.new_zeros((len(keys_G), *value_FX.shape[1:])).index_add_(0, group_F, value_FX)
        squares_GX = sums_GX.double().square() * self.weights_S[keys_G % len(self.weights_S)][:, None]
        total_NX = squares_GX.new_zeros((num_experts, *value_FX.shape[1:]))
        return total_NX.index_add_(0, keys_G // len(self.weights_S), squares_GX)
