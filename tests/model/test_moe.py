"""The expert layer against a loop over tokens, and the balancing of its router."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from model.config import HybridConfig
from model.hybrid import HybridLM
from model.moe import Experts, MixtureOfExperts, Router, balanced_bias, counting, max_violation, routers
from tests.model.common import EXPERTS, GROUPED_MOE, LATENT_MOE, MOE, shake
from tests.model.test_hybrid import tokens

LAYERS = {name: EXPERTS[name] for name in ("moe", "grouped_moe", "latent_moe")}


def layer_of(config: HybridConfig, seed: int = 0) -> MixtureOfExperts:
    """The first expert layer of a random network, in float64."""
    model = shake(HybridLM.create(replace(config, initializer_range=0.5), seed=seed)).cast(torch.float64)
    return next(module for module in model.modules() if isinstance(module, MixtureOfExperts))


def chosen(router: Router, x: torch.Tensor) -> list[tuple[int, float]]:
    """(expert, weight) of one token by sorting, as the definition says."""
    config = router.config
    scores = torch.sigmoid(router.weight @ x)
    choice = (scores + router.e_score_correction_bias).tolist()
    size = config.n_routed_experts // config.n_group
    groups = [range(start, start + size) for start in range(0, config.n_routed_experts, size)]
    groups.sort(key=lambda group: -sum(sorted((choice[e] for e in group), reverse=True)[:2]))
    eligible = sorted((e for group in groups[: config.topk_group] for e in group), key=lambda e: -choice[e])
    best = eligible[: config.num_experts_per_tok]
    total = sum(float(scores[e]) for e in best) if config.norm_topk_prob else 1.0
    return [(e, float(scores[e]) / total * config.routed_scaling_factor) for e in best]


def by_token(layer: MixtureOfExperts, x: torch.Tensor) -> torch.Tensor:
    """One token through its experts, one after the other."""
    inner = layer.fc1_latent_proj(x) if layer.latent else x
    y = torch.zeros_like(inner)
    for expert, weight in chosen(layer.gate, x):
        up, down = layer.experts.up_proj[expert], layer.experts.down_proj[expert]
        y = y + weight * (down @ torch.relu(up @ inner) ** 2)
    shared = layer.shared_experts
    return (layer.fc2_latent_proj(y) if layer.latent else y) + shared.down_proj(torch.relu(shared.up_proj(x)) ** 2)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_a_loop_over_tokens(name):
    layer = layer_of(LAYERS[name])
    x_BLD = torch.randn(2, 13, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = torch.stack([torch.stack([by_token(layer, x) for x in row]) for row in x_BLD])
        torch.testing.assert_close(layer(x_BLD), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_equal_those_of_a_dense_sum(name):
    """The same function with every expert computed on every token, differentiated by autograd."""
    config = LAYERS[name]
    layer = layer_of(config)
    x_TD = torch.randn(11, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def dense(x: torch.Tensor) -> torch.Tensor:
        weights_TK, experts_TK = layer.gate(x)
        weights_TN = x.new_zeros(len(x), config.n_routed_experts).scatter(1, experts_TK, weights_TK)
        inner = layer.fc1_latent_proj(x) if layer.latent else x
        up = torch.einsum("tx,nmx->tnm", inner, layer.experts.up_proj).relu().square()
        y = torch.einsum("tnm,nxm,tn->tx", up, layer.experts.down_proj, weights_TN)
        return layer.shared_experts(x) + (layer.fc2_latent_proj(y) if layer.latent else y)

    weight = torch.randn(11, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    inputs = [x_TD, *layer.parameters()]
    expected = torch.autograd.grad((dense(x_TD) * weight).sum(), inputs)
    actual = torch.autograd.grad((layer(x_TD) * weight).sum(), inputs)
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


def test_gradcheck_and_experts_that_nobody_chose():
    config = replace(MOE, d_model=4, moe_intermediate_size=3, n_routed_experts=5, num_experts_per_tok=2)
    experts = Experts(config).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    experts_TK = torch.tensor([[3, 0], [0, 3], [2, 0]])
    x_TX = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    weights_TK = torch.rand(3, 2, dtype=torch.float64, generator=generator, requires_grad=True)

    def function(x, weights, up, down):
        return torch.func.functional_call(experts, {"up_proj": up, "down_proj": down}, (x, weights, experts_TK))[0]

    assert gradcheck(function, (x_TX, weights_TK, experts.up_proj, experts.down_proj))
    y_TX, counts_N = experts(x_TX, weights_TK, experts_TK)
    assert counts_N.tolist() == [3, 0, 1, 2, 0]
    y_TX.sum().backward()
    assert experts.up_proj.grad is not None
    assert [bool(gradient.any()) for gradient in experts.up_proj.grad] == [True, False, True, True, False]


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(0, 99))
def test_a_token_does_not_depend_on_its_neighbours(batch: int, length: int, seed: int) -> None:
    layer = layer_of(GROUPED_MOE)
    x_BLD = torch.randn(batch, length, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        whole = layer(x_BLD)
        for row in range(batch):
            for position in range(length):
                alone = layer(x_BLD[row : row + 1, position : position + 1])
                torch.testing.assert_close(whole[row, position], alone[0, 0], rtol=1e-10, atol=1e-12)


def test_bias_chooses_and_does_not_weigh():
    router = layer_of(MOE).gate
    x_TD = torch.randn(20, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = [dict(chosen(router, x)) for x in x_TD]
        router.e_score_correction_bias.copy_(torch.tensor([9.0, 9, 9, 0, 0, 0, 0, 0]))
        weights_TK, experts_TK = router(x_TD)
        scores_TN = torch.sigmoid(x_TD @ router.weight.T)
    assert any(set(old) != {0, 1, 2} for old in before)
    assert {frozenset(row) for row in experts_TK.tolist()} == {frozenset({0, 1, 2})}
    ratio = weights_TK / scores_TN.gather(1, experts_TK)
    torch.testing.assert_close(ratio, ratio[:, :1].expand(-1, 3))
    torch.testing.assert_close(weights_TK.sum(1), torch.full((20,), 2.5, dtype=torch.float64))


def test_router_works_in_float32_at_any_precision():
    layer = layer_of(MOE)
    x_TD = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    half = shake(HybridLM.create(MOE, seed=0)).cast(torch.bfloat16)
    gate = next(iter(routers(half).values()))
    weights_TK, _ = gate(x_TD)
    assert weights_TK.dtype == gate.e_score_correction_bias.dtype == torch.float32
    assert gate.weight.dtype == torch.bfloat16
    assert layer(x_TD.double()[None]).dtype == torch.float64


def test_counting_sees_every_token_and_stops():
    model = HybridLM.create(LATENT_MOE, seed=0)
    ids = tokens(2, 30)
    with counting(model) as counts, torch.no_grad():
        model(ids)
        model(ids)
    assert list(counts) == [f"backbone.layers.{i}" for i, letter in enumerate(LATENT_MOE.pattern) if letter == "E"]
    assert all(int(count.sum()) == 2 * 60 * LATENT_MOE.num_experts_per_tok for count in counts.values())
    before = {name: count.clone() for name, count in counts.items()}
    with torch.no_grad():
        model(ids)
    assert all(torch.equal(counts[name], before[name]) for name in counts)


def test_update_of_the_bias():
    bias = torch.tensor([0.5, 0.0, -0.25, 0.0])
    moved = balanced_bias(bias, torch.tensor([10, 2, 5, 3]), 0.125)
    assert moved.tolist() == [0.375, 0.125, -0.25, 0.125]
    assert max_violation(torch.tensor([10, 2, 5, 3])) == pytest.approx(1.0)
    assert max_violation(torch.tensor([4, 4])) == max_violation(torch.tensor([0, 0])) == 0.0


def test_updates_balance_the_experts():
    router = layer_of(replace(MOE, n_routed_experts=16)).gate
    x_TD = torch.randn(400, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    violations = []
    with torch.no_grad():
        for _ in range(400):
            counts_N = torch.bincount(router(x_TD)[1].flatten(), minlength=16)
            violations.append(max_violation(counts_N))
            router.e_score_correction_bias.copy_(balanced_bias(router.e_score_correction_bias, counts_N, 5e-3))
    assert violations[0] > 1
    assert violations[-1] < 0.2
    assert all(after < before for before, after in pairwise(violations[:120:40]))
