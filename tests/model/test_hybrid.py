"""The network by itself: initialisation, packing, caching, learning."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from kernels.linear_loss import linear_cross_entropy
from model.cache import DecodeCache
from model.hybrid import HybridLM
from tests.model.common import OWN, TIED, TINY, VARIANTS, shake


def tokens(batch, length, seed=0):
    return torch.randint(0, TINY.vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


def relative_error(actual, expected):
    return float((actual - expected).norm().detach() / expected.norm().detach())


def test_create_is_a_function_of_the_seed():
    state = torch.get_rng_state()
    first, again, other = (HybridLM.create(TINY, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [n for n in first if not n.endswith(("norm.weight", "norm_f.weight", ".D"))]
    assert all(not torch.equal(first[name], other[name]) for name in drawn)


def test_initial_distributions():
    config = replace(TINY, d_model=128, intermediate_size=256, mamba_num_heads=64, initializer_range=0.03)
    parameters = HybridLM.create(config, seed=0).state_dict()
    std = config.initializer_range
    for name, parameter in parameters.items():
        residual = name.endswith(("out_proj.weight", "o_proj.weight", "down_proj.weight"))
        if parameter.ndim == 2:
            expected = std / math.sqrt(config.num_layers) if residual else std
            assert float(parameter.std()) == pytest.approx(expected, rel=0.05), name
    mixer = "backbone.layers.0.mixer."
    A = parameters[mixer + "A_log"].exp()
    dt = torch.nn.functional.softplus(parameters[mixer + "dt_bias"])
    assert 1 <= float(A.min()) < 3
    assert 14 < float(A.max()) <= 16
    assert 1e-3 <= float(dt.min()) * 1.001 < 2e-3
    assert 5e-2 < float(dt.max()) <= 0.1001
    assert float(parameters[mixer + "conv1d.weight"].abs().max()) <= 0.5
    assert bool((parameters[mixer + "D"] == 1).all())


def test_names_of_the_parameters():
    names = list(HybridLM.create(replace(TINY, pattern="M*-"), seed=0).state_dict())
    layer = "backbone.layers."
    assert names == [
        "backbone.embeddings.weight",
        layer + "0.norm.weight",
        *(layer + "0.mixer." + n for n in ("dt_bias", "A_log", "D")),
        *(layer + "0.mixer." + n for n in ("in_proj.weight", "conv1d.weight", "conv1d.bias")),
        *(layer + "0.mixer." + n for n in ("norm.weight", "out_proj.weight")),
        layer + "1.norm.weight",
        *(layer + f"1.mixer.{n}_proj.weight" for n in "qkvo"),
        layer + "2.norm.weight",
        *(layer + f"2.mixer.{n}_proj.weight" for n in ("up", "down")),
        "backbone.norm_f.weight",
        "lm_head.weight",
    ]


def test_tied_weights_are_one_parameter():
    model = HybridLM.create(TIED, seed=0)
    assert model.lm_head.weight is model.backbone.embeddings.weight
    assert sum(p.numel() for p in model.parameters()) == TIED.num_params()


@pytest.mark.parametrize("name", {**VARIANTS, **OWN})
def test_packed_documents_equal_separate_ones(name):
    model = HybridLM.create({**VARIANTS, **OWN}[name], seed=0)
    ids = tokens(2, 70)
    bounds = [[0, 5, 32, 51, 70], [0, 1, 40, 70]]  # inside chunks, on a chunk's edge, a single token
    seq_idx = torch.zeros(2, 70, dtype=torch.long)
    for row, row_bounds in enumerate(bounds):
        for number, start in enumerate(row_bounds[1:-1], 1):
            seq_idx[row, start:] = number
    with torch.no_grad():
        packed = model(ids, seq_idx_BL=seq_idx)
        for row, row_bounds in enumerate(bounds):
            for start, end in itertools.pairwise(row_bounds):
                alone = model(ids[row : row + 1, start:end])[0]
                assert relative_error(packed[row, start:end], alone) < 1e-5
        assert relative_error(packed, model(ids)) > 1e-2


@pytest.mark.parametrize("name", {**VARIANTS, **OWN})
@pytest.mark.parametrize("cuts", [[37], [1], [16, 17, 18, 40], list(range(1, 50))])
def test_cached_pieces_equal_the_whole(name, cuts):
    model = HybridLM.create({**VARIANTS, **OWN}[name], seed=0)
    ids = tokens(2, 50)
    with torch.no_grad():
        whole = model(ids)
        cache = DecodeCache.empty({**VARIANTS, **OWN}[name], 2, max_length=8)  # smaller than needed: it must grow
        edges = [0, *cuts, 50]
        pieces = [model(ids[:, a:b], cache=cache) for a, b in itertools.pairwise(edges)]
    assert cache.length == 50
    assert relative_error(torch.cat(pieces, 1), whole) < 1e-5


@pytest.mark.parametrize(("kinds", "cap"), [("qk", None), ("qkv", None), ("qk", 0.7)])
def test_norms_inside_attention(kinds, cap, monkeypatch):
    """One attention layer by its formula, head by head; with a cap on the scores, queries in parts, and a last norm."""
    monkeypatch.setattr("kernels.softcap.QUERIES_AT_ONCE", 4)
    config = replace(OWN["capped" if cap else f"{kinds}_norm"], pattern="*")
    model = shake(HybridLM.create(config, seed=0))
    layer = model.backbone.layers[0]
    x = torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(0))

    def norm(value, name):
        return value / (value.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.get_parameter(f"{name}.weight")

    inner = norm(x, "norm") if kinds == "qk" else x
    heads = {}
    for name in "qkv":
        value = (inner[0] @ layer.get_parameter(f"mixer.{name}_proj.weight").T).unflatten(-1, (-1, 8))
        heads[name] = norm(value, f"mixer.{name}_norm") if name in kinds else value
    outputs = []
    for head in range(4):
        scores = heads["q"][:, head] @ heads["k"][:, head // 2].T / math.sqrt(8)
        scores = cap * torch.tanh(scores / cap) if cap else scores
        scores = scores.masked_fill(~torch.ones(9, 9, dtype=torch.bool).tril(), -torch.inf)
        outputs.append(scores.softmax(-1) @ heads["v"][:, head // 2])
    added = torch.cat(outputs, -1) @ layer.get_parameter("mixer.o_proj.weight").T
    expected = x + (norm(added, "output_norm") if cap else added)
    with torch.no_grad():
        assert relative_error(layer(x), expected) < 1e-6
    assert (kinds == "qkv") == ("backbone.layers.0.norm.weight" not in model.state_dict())


def test_what_every_layer_adds_is_normed_and_logits_are_capped():
    model = HybridLM.create(replace(OWN["capped"], pattern="M-*"), seed=0)
    added = []
    for layer in model.backbone.layers:
        layer.get_submodule("output_norm").register_forward_hook(lambda module, inputs, output: added.append(output))
    logits = model(tokens(2, 20))
    assert [float(value.detach().square().mean(-1).sqrt().mean()) for value in added] == pytest.approx([1] * 3, 0.01)
    plain = model.lm_head(model.hidden_states(tokens(2, 20)))
    assert float(plain.detach().abs().max()) > 0.5 > float(logits.detach().abs().max())
    assert torch.allclose(logits, 0.5 * torch.tanh(plain / 0.5))


def test_cache_and_packing_do_not_combine():
    model = HybridLM.create(TINY, seed=0)
    ids = tokens(1, 4)
    with pytest.raises(ValueError, match="seq_idx_BL cannot be combined with cache"):
        model(ids, seq_idx_BL=torch.zeros_like(ids), cache=DecodeCache.empty(TINY, 1))


def test_later_tokens_do_not_reach_earlier_logits():
    model = HybridLM.create(TINY, seed=0)
    ids = tokens(1, 45)
    changed = ids.clone()
    changed[:, 30:] = (changed[:, 30:] + 1) % TINY.vocab_size
    with torch.no_grad():
        a, b = model(ids), model(changed)
    assert torch.equal(a[:, :30], b[:, :30])
    assert relative_error(b[:, 30:], a[:, 30:]) > 1e-2


def test_cast_keeps_the_sensitive_parameters():
    model = HybridLM.create(TINY, seed=0).cast(torch.bfloat16)
    for name, parameter in model.named_parameters():
        sensitive = name.endswith(("A_log", ".D", "dt_bias"))
        assert parameter.dtype == (torch.float32 if sensitive else torch.bfloat16), name
    ids = tokens(2, 40)
    with torch.no_grad():
        logits = model(ids)
        expected = HybridLM.create(TINY, seed=0)(ids)
    assert logits.dtype == torch.bfloat16
    assert relative_error(logits.float(), expected) < 0.05


def test_overfits_one_batch():
    config = replace(TINY, initializer_range=0.05)
    model = HybridLM.create(config, seed=0)
    ids = tokens(2, 33)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(60):
        hidden = model.hidden_states(ids[:, :-1])
        total, count = linear_cross_entropy(hidden.flatten(0, 1), model.lm_head.weight, ids[:, 1:].flatten())
        loss = total / count
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(config.vocab_size), rel=0.1)
    assert losses[-1] < 0.1
