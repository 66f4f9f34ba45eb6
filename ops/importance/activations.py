"""Width scores and block influence: what forward hooks see in one pass, as sums that can be added up.

A sample is one document in one row (`seq_idx` tells them apart), padding is none. Where the literature aggregates a
sequence by the mean of absolute values and a batch by the L2 norm ("L2/mean", the best of Table 13 of Minitron, arXiv
2407.14679), a document of n tokens counts n times:

    score = sqrt( sum over documents of n * (mean over its tokens of |a|)^2 / sum of n )

which is the published rule up to a constant where all samples are equally long, and depends neither on how documents
are packed nor on how rows are split into batches.

| statistic                     | of                                                               | aggregated    |
|-------------------------------|------------------------------------------------------------------|---------------|
| d_model                       | output of the layer's norm, by channel                           | L2/mean       |
| intermediate_size             | input of down_proj, by neuron                                    | L2/mean       |
| num_attention_heads           | input of o_proj, L2 norm of the head                             | L2/mean       |
| mamba_x                       | x rows of in_proj, by head and channel (Minitron-SSM, 2504.11409)| L2/mean       |
| mamba_contribution            | W_out[:, h] y_h, L2 norm, by head                                | mean          |
| mamba_channel_contribution    | |y_hp| * |W_out[:, hp]|, by head and channel                     | mean          |
| block_influence               | 1 - cos(input, output) of the residual layer (ShortGPT, 2403.03853) | mean       |

Shape suffixes: B rows, L positions, S documents, T real tokens, D channels of the layer, H heads, P head dim,
E attention head dim, I = H * P, X any.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from model.hybrid import HybridLM

ROOT_OF_SQUARES = frozenset({"d_model", "intermediate_size", "num_attention_heads", "mamba_x"})
TOKENS = "tokens"


class Statistics:
    """Sums over documents in float64, by name `layers.{index}.{statistic}`, with the number of tokens behind them."""

    def __init__(self, sums: dict[str, Tensor] | None = None) -> None:
        self.sums = dict(sums) if sums is not None else {TOKENS: torch.zeros((), dtype=torch.float64)}

    def add(self, name: str, value: Tensor) -> None:
        value = value.to("cpu", torch.float64)
        self.sums[name] = self.sums[name] + value if name in self.sums else value

    def finish(self) -> dict[str, Tensor]:
        """The scores, as the table above defines them.

        Raises ValueError before the first token.
        """
        tokens = self.sums[TOKENS]
        if tokens == 0:
            raise ValueError("no tokens were seen")
        scores = {}
        for name, total in sorted(self.sums.items()):
            if name != TOKENS:
                mean = total / tokens
                scores[name] = mean.sqrt() if name.rpartition(".")[2] in ROOT_OF_SQUARES else mean
        return scores


class _Documents:
    """Which document of the batch each token belongs to."""

    def __init__(self, seq_idx_BL: Tensor, valid_BL: Tensor) -> None:
        rows = torch.arange(seq_idx_BL.shape[0], device=seq_idx_BL.device)[:, None]
        keys_BL = rows * (int(seq_idx_BL.max()) + 1) + seq_idx_BL
        self.valid_T = valid_BL.flatten()
        keys = keys_BL.flatten()[self.valid_T]
        _, self.document_T, self.lengths_S = keys.unique(return_inverse=True, return_counts=True)
        self.num_tokens = int(self.valid_T.sum())

    def tokens(self, value_BLX: Tensor) -> Tensor:
        """The values of real tokens, value_TX, in at least float32."""
        value_TX = value_BLX.flatten(0, 1)
        if self.num_tokens < len(self.valid_T):
            value_TX = value_TX[self.valid_T]
        return value_TX.to(torch.promote_types(value_TX.dtype, torch.float32))

    def _sums(self, value_TX: Tensor) -> Tensor:
        """Sums over the tokens of each document, in float64; in one order whatever the number of threads."""
        sums_SX = value_TX.new_zeros((len(self.lengths_S), *value_TX.shape[1:]))
        return sums_SX.index_add_(0, self.document_T, value_TX).double()

    def total(self, value_TX: Tensor) -> Tensor:
        """Sum over all tokens."""
        return self._sums(value_TX).sum(0)

    def squared_means(self, value_TX: Tensor) -> Tensor:
        """sum over documents of n * (mean over tokens)^2 of non-negative values."""
        return torch.einsum("s...,s->...", self._sums(value_TX).square(), 1 / self.lengths_S.double())


@contextmanager
def scoring(model: HybridLM, statistics: Statistics) -> Iterator[Callable[[Tensor, Tensor], None]]:
    """While open, every forward pass of `model` adds to `statistics`; announce each batch by calling what is yielded
    with seq_idx_BL and valid_BL (False: padding) just before it."""
    config = model.config
    documents: _Documents | None = None

    def announce(seq_idx_BL: Tensor, valid_BL: Tensor) -> None:
        nonlocal documents
        documents = _Documents(seq_idx_BL, valid_BL)
        statistics.add(TOKENS, torch.tensor(documents.num_tokens))

    def current() -> _Documents:
        assert documents is not None, "announce the batch first"
        return documents

    def channels(name: str) -> Callable[[Tensor], None]:
        return lambda value: statistics.add(name, current().squared_means(current().tokens(value).abs()))

    def heads(name: str) -> Callable[[Tensor], None]:
        def see(value: Tensor) -> None:
            value_THE = current().tokens(value).unflatten(-1, (config.num_attention_heads, config.head_dim))
            statistics.add(name, current().squared_means(value_THE.norm(dim=-1)))

        return see

    def projected(name: str) -> Callable[[Tensor], None]:
        shape = (config.mamba_num_heads, config.mamba_head_dim)

        def see(value: Tensor) -> None:
            x_TI = current().tokens(value[..., config.d_inner : 2 * config.d_inner])
            statistics.add(name, current().squared_means(x_TI.abs().unflatten(-1, shape)))

        return see

    def contributed(prefix: str, weight_DI: Tensor) -> Callable[[Tensor], None]:
        shape = (config.mamba_num_heads, config.mamba_head_dim)
        weight_DHP = weight_DI.detach().double().unflatten(-1, shape)
        gram_HPP = torch.einsum("dhp,dhq->hpq", weight_DHP, weight_DHP)
        column_HP = gram_HPP.diagonal(dim1=-2, dim2=-1).sqrt()

        def see(value: Tensor) -> None:
            y_THP = current().tokens(value).unflatten(-1, shape)
            squares_TH = (torch.einsum("thp,hpq->thq", y_THP, gram_HPP.to(y_THP.dtype)) * y_THP).sum(-1)
            statistics.add(f"{prefix}.mamba_contribution", current().total(squares_TH.clamp(min=0).sqrt()))
            statistics.add(f"{prefix}.mamba_channel_contribution", current().total(y_THP.abs()) * column_HP)

        return see

    def influence(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def see(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            before_TD, after_TD = current().tokens(args[0]), current().tokens(output)
            statistics.add(name, current().total(1 - cosine_similarity(before_TD, after_TD, dim=-1)))

        return see

    handles = []

    def on_input(module: nn.Module, see: Callable[[Tensor], None]) -> None:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            see(args[0])

        handles.append(module.register_forward_pre_hook(hook))

    def on_output(module: nn.Module, see: Callable[[Tensor], None]) -> None:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            see(output)

        handles.append(module.register_forward_hook(hook))

    try:
        for index, letter in enumerate(config.pattern):
            block = model.backbone.layers[index]
            prefix = f"layers.{index}"
            handles.append(block.register_forward_hook(influence(f"{prefix}.block_influence")))
            on_output(block.get_submodule("norm"), channels(f"{prefix}.d_model"))
            if letter == "-":
                on_input(block.get_submodule("mixer.down_proj"), channels(f"{prefix}.intermediate_size"))
            elif letter == "*":
                on_input(block.get_submodule("mixer.o_proj"), heads(f"{prefix}.num_attention_heads"))
            else:
                out_proj = block.get_submodule("mixer.out_proj")
                on_output(block.get_submodule("mixer.in_proj"), projected(f"{prefix}.mamba_x"))
                on_input(out_proj, contributed(prefix, out_proj.get_parameter("weight")))
        yield announce
    finally:
        for handle in handles:
            handle.remove()
