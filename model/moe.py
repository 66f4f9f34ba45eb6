"""The mixture-of-experts layer of Nemotron 3 (arXiv 2512.20856): sigmoid router, shared expert, latent projection.

Shape suffixes: B batch, L length, T = B * L tokens, D model width, X width of the routed experts, M their hidden width,
N experts, K chosen experts of a token, F = T * K rows of work, in the order of tokens or sorted by expert.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, relu

from kernels.matmul import matmul
from model.config import HybridConfig
from model.ffn import FeedForward
from model.linear import Linear


class Router(nn.Module):
    """Chooses `num_experts_per_tok` experts of each token by sigmoid(x W^T) + correction bias, in at least float32.

    The bias decides which experts are chosen and nothing else: the weights of the chosen ones are their scores
    without it. It is no parameter; `balanced_bias` moves it (auxiliary-loss-free balancing, arXiv 2408.15664).
    """

    e_score_correction_bias: Tensor

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.d_model))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts, dtype=torch.float32))
        self.counts_N: Tensor | None = None
        """Tokens of each expert since `counting` began; None outside of it."""

    def forward(self, x_TD: Tensor) -> tuple[Tensor, Tensor]:
        """(weights_TK, experts_TK), the experts in no particular order."""
        config = self.config
        work = torch.promote_types(x_TD.dtype, torch.float32)
        with torch.autocast(x_TD.device.type, enabled=False):
            scores_TN = linear(x_TD.to(work), self.weight.to(work)).sigmoid()
        choice_TN = scores_TN.detach() + self.e_score_correction_bias
        if config.topk_group < config.n_group:
            choice_TN = self._within_best_groups(choice_TN)
        experts_TK = choice_TN.topk(config.num_experts_per_tok, dim=-1, sorted=False).indices
        weights_TK = scores_TN.gather(1, experts_TK)
        if config.norm_topk_prob:
            weights_TK = weights_TK / (weights_TK.sum(-1, keepdim=True) + 1e-20)
        return weights_TK * config.routed_scaling_factor, experts_TK

    def _within_best_groups(self, choice_TN: Tensor) -> Tensor:
        """Minus infinity outside of the `topk_group` groups whose two best experts have the largest sum."""
        grouped = choice_TN.unflatten(-1, (self.config.n_group, -1))
        best = grouped.topk(2, dim=-1).values.sum(-1).topk(self.config.topk_group, dim=-1, sorted=False).indices
        open_groups = torch.zeros(grouped.shape[:2], dtype=torch.bool, device=choice_TN.device).scatter(1, best, True)
        return grouped.masked_fill(~open_groups[..., None], -torch.inf).flatten(1)


class _Gather(Function):
    """Row `order[i] // copies` of x for each i. `inverse` is the inverse permutation of `order`, so that the gradient
    is a gather too, exact and the same in every run, where that of an index is a scatter with additions."""

    @staticmethod
    def forward(ctx: Any, x_TX: Tensor, order_F: Tensor, inverse_F: Tensor, copies: int) -> Tensor:
        ctx.save_for_backward(inverse_F)
        ctx.copies = copies
        return x_TX.index_select(0, order_F // copies)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_FX: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (inverse_F,) = ctx.saved_tensors
        return grad_FX.index_select(0, inverse_F).unflatten(0, (-1, ctx.copies)).sum(1), None, None, None


class _GroupedLinear(Function):
    """Rows sorted by expert, each times its expert's matrix: x_FI, weight_NOI, rows of each expert -> y_FO. One product
    per used expert, written in place; experts without rows get a gradient of zeros."""

    @staticmethod
    def forward(ctx: Any, x_FI: Tensor, weight_NOI: Tensor, counts: list[int]) -> Tensor:
        ctx.save_for_backward(x_FI, weight_NOI)
        ctx.counts = counts
        y_FO = x_FI.new_empty(x_FI.shape[0], weight_NOI.shape[1])
        for expert, part in _used(counts):
            matmul(x_FI[part], weight_NOI[expert].T, out_MN=y_FO[part])
        return y_FO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_FO: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x_FI, weight_NOI = ctx.saved_tensors
        grad_x_FI, grad_weight_NOI = torch.empty_like(x_FI), torch.empty_like(weight_NOI)
        for expert, part in _used(ctx.counts):
            matmul(grad_FO[part], weight_NOI[expert], out_MN=grad_x_FI[part])
            matmul(grad_FO[part].T, x_FI[part], out_MN=grad_weight_NOI[expert])
        for expert, count in enumerate(ctx.counts):
            if not count:
                grad_weight_NOI[expert].zero_()
        return grad_x_FI, grad_weight_NOI, None


def _used(counts: list[int]) -> Iterator[tuple[int, slice]]:
    """Experts that have rows, and where these are."""
    start = 0
    for expert, count in enumerate(counts):
        if count:
            yield expert, slice(start, start + count)
        start += count


def _grouped_linear(x_FI: Tensor, weight_NOI: Tensor, counts: list[int]) -> Tensor:
    if torch.is_autocast_enabled(x_FI.device.type):
        dtype = torch.get_autocast_dtype(x_FI.device.type)
        x_FI, weight_NOI = x_FI.to(dtype), weight_NOI.to(dtype)
    y: Any = _GroupedLinear.apply(x_FI, weight_NOI, counts)
    return y


@dataclass(frozen=True)
class RoutedRows:
    """What the experts did in a forward pass: a row for each token and each of its experts, sorted by expert, an
    expert's rows in the order of its tokens."""

    experts_F: Tensor
    tokens_F: Tensor
    weights_F: Tensor
    """What the router weighs the row's output with."""

    inner_FM: Tensor
    """Input of `down_proj`."""

    output_FX: Tensor


class Experts(nn.Module):
    """Squared-ReLU networks without gate or bias, their matrices stacked: `up_proj` (N, M, X), `down_proj` (N, X, M).

    On disk each expert's matrices are tensors of their own (see model.checkpoint).
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        experts, inner, outer = config.n_routed_experts, config.moe_intermediate_size, config.expert_dim
        self.up_proj = nn.Parameter(torch.empty(experts, inner, outer))
        self.down_proj = nn.Parameter(torch.empty(experts, outer, inner))
        self.watch: Callable[[RoutedRows], None] | None = None
        """Called in every forward pass with what the experts did."""

    def forward(self, x_TX: Tensor, weights_TK: Tensor, experts_TK: Tensor) -> tuple[Tensor, Tensor]:
        """(the weighted sum y_TX of what the chosen experts make of each token, tokens of each expert counts_N).

        Rows are sorted by expert, so that each used expert costs one product per matrix whatever the tokens are.
        """
        copies = experts_TK.shape[1]
        sorted_F, order_F = experts_TK.flatten().sort(stable=True)
        inverse_F = order_F.argsort()
        edges = torch.arange(len(self.up_proj) + 1, device=x_TX.device)
        counts_N = torch.searchsorted(sorted_F, edges).diff()
        counts = counts_N.tolist()
        rows_FX = _gather(x_TX, order_F, inverse_F, copies)
        inner_FM = relu(_grouped_linear(rows_FX, self.up_proj, counts)).square()
        done_FX = _grouped_linear(inner_FM, self.down_proj, counts)
        if self.watch is not None:
            weights_F = weights_TK.flatten().index_select(0, order_F)
            self.watch(RoutedRows(sorted_F, order_F // copies, weights_F, inner_FM, done_FX))
        y_TKX = _gather(done_FX, inverse_F, order_F, 1).unflatten(0, (-1, copies))
        return (weights_TK[:, None].to(y_TKX.dtype) @ y_TKX).squeeze(1), counts_N


def _gather(x_TX: Tensor, order_F: Tensor, inverse_F: Tensor, copies: int) -> Tensor:
    gathered: Any = _Gather.apply(x_TX, order_F, inverse_F, copies)
    return gathered


class MixtureOfExperts(nn.Module):
    """Shared expert on x, plus the chosen experts on x or, with `moe_latent_size`, on a projection of it."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.gate = Router(config)
        self.experts = Experts(config)
        self.shared_experts = FeedForward(config, width=config.moe_shared_expert_intermediate_size)
        self.latent = config.moe_latent_size is not None
        if config.moe_latent_size is not None:
            self.fc1_latent_proj = Linear(config.d_model, config.moe_latent_size)
            self.fc2_latent_proj = Linear(config.moe_latent_size, config.d_model)

    def forward(self, x_BLD: Tensor) -> Tensor:
        x_TD = x_BLD.flatten(0, -2)
        weights_TK, experts_TK = self.gate(x_TD)
        x_TX = self.fc1_latent_proj(x_TD) if self.latent else x_TD
        y_TX, counts_N = self.experts(x_TX, weights_TK, experts_TK)
        if self.gate.counts_N is not None:
            self.gate.counts_N += counts_N
        y_TD = self.fc2_latent_proj(y_TX) if self.latent else y_TX
        return self.shared_experts(x_BLD) + y_TD.view_as(x_BLD)


def routers(model: nn.Module) -> dict[str, Router]:
    """The routers of a network by the names of their layers, `backbone.layers.3`."""
    return {
        name.removesuffix(".mixer.gate"): module for name, module in model.named_modules() if isinstance(module, Router)
    }


@contextmanager
def counting(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """While open, forward passes add up the tokens that each expert gets: layer -> counts_N."""
    found = routers(model)
    for router in found.values():
        router.counts_N = torch.zeros(router.config.n_routed_experts, dtype=torch.long, device=router.weight.device)
    try:
        yield {name: router.counts_N for name, router in found.items() if router.counts_N is not None}
    finally:
        for router in found.values():
            router.counts_N = None


@contextmanager
def not_counting(module: nn.Module) -> Iterator[None]:
    """While open, forward passes of `module` are not counted: those that make its inner values a second time."""
    found = [(router, router.counts_N) for router in routers(module).values()]
    for router, _ in found:
        router.counts_N = None
    try:
        yield
    finally:
        for router, counts_N in found:
            router.counts_N = counts_N


def balanced_bias(bias_N: Tensor, counts_N: Tensor, rate: float) -> Tensor:
    """The correction bias after a batch in which the experts got so many tokens: `rate` more for those that got less
    than the mean, `rate` less for those that got more (arXiv 2408.15664; 1e-3 in Nemotron 3)."""
    return bias_N + rate * torch.sign(counts_N.double().mean() - counts_N).to(bias_N.dtype)


def max_violation(counts_N: Tensor) -> float:
    """How far the most loaded expert is above the mean, as a share of the mean (MaxVio): 0 is perfect balance."""
    mean = float(counts_N.double().mean())
    return float(counts_N.max()) / mean - 1 if mean else 0.0
