"""Generation: stopping, batches, states, and what draws become."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model.cache import DecodeCache
from model.generate import DecodeState, Sampling, decode, generate, prefill, sample, uniform
from model.hybrid import HybridLM
from tests.model.common import CAPPED, TINY, VARIANTS, shake
from tests.model.test_hybrid import tokens


def test_greedy_equals_uncached_argmax():
    model = HybridLM.create(TINY, seed=1)
    expected = tokens(2, 6)
    for _ in range(12):
        with torch.no_grad():
            expected = torch.cat([expected, model(expected)[:, -1:].argmax(-1)], 1)
    assert torch.equal(generate(model, tokens(2, 6), max_new_tokens=12), expected)


def test_rows_stop_at_eos_and_are_padded():
    model = HybridLM.create(TINY, seed=1)
    prompt = tokens(2, 6)
    free = generate(model, prompt, max_new_tokens=12)
    eos = int(free[0, 9])
    first = [(row == eos).nonzero()[0].item() if (row == eos).any() else 12 for row in free[:, 6:]]
    out = generate(model, prompt, max_new_tokens=12, eos_token_id=eos)
    assert out.shape[1] == 6 + min(12, max(first) + 1)
    for row in range(2):
        end = min(6 + first[row] + 1, out.shape[1])
        assert torch.equal(out[row, :end], free[row, :end])
        assert bool((out[row, end:] == TINY.pad_token_id).all())


@pytest.mark.parametrize("name", [*VARIANTS, "capped"])
def test_rows_do_not_depend_on_the_batch(name):
    """Prompts of unequal length in one batch against each by itself, with draws of the same streams."""
    model = shake(HybridLM.create(replace({**VARIANTS, "capped": CAPPED}[name], initializer_range=0.4), seed=1))
    lengths, width = [9, 1, 23, 16], 23
    rows = [tokens(1, length, seed=length) for length in lengths]
    batch = torch.cat([torch.nn.functional.pad(row, (width - row.shape[1], 0)) for row in rows])
    mask = (torch.arange(width) >= width - torch.tensor(lengths)[:, None]).long()
    settings = {"max_new_tokens": 15, "sampling": Sampling(temperature=1.0, seed=3)}
    together = generate(model, batch, attention_mask_BL=mask, streams=[7, 5, 9, 0], **settings)
    for row, stream in enumerate([7, 5, 9, 0]):
        alone = generate(model, rows[row], streams=[stream], **settings)
        assert torch.equal(together[row, width:], alone[0, lengths[row] :])


@pytest.mark.parametrize("name", ["tiny", "latent_moe"])
def test_states_are_stacked_forked_and_saved(name, tmp_path):
    config = VARIANTS[name]
    model = shake(HybridLM.create(replace(config, initializer_range=0.4), seed=1))
    config, sampling = model.config, Sampling(temperature=1.0, seed=5)
    prompts = [tokens(2, 11, seed=1), tokens(1, 30, seed=2)]

    def texts(state, streams, new=12):
        return torch.stack(list(decode(model, state, max_new_tokens=new, sampling=sampling, streams=streams)), 1)

    expected = torch.cat([texts(prefill(model, prompts[0]), [0, 1]), texts(prefill(model, prompts[1]), [2])])
    stacked = DecodeState.stack([prefill(model, prompt) for prompt in prompts])
    stacked.save(tmp_path / "state", config)
    assert torch.equal(texts(stacked, [0, 1, 2]), expected)

    again = DecodeState.load(tmp_path / "state", config)
    assert again.positions == [11, 11, 30]
    forked = again.fork(2)
    found = texts(forked, [0, 8, 1, 8, 2, 8])
    assert torch.equal(found[::2], expected)
    assert not torch.equal(found[1::2], expected)
    assert torch.equal(texts(again.rows([2, 0]), [2, 0]), expected[[2, 0]])  # the forks took nothing from it

    half = prefill(model, prompts[0])
    first = texts(half, [0, 1], new=5)
    half.advance(model, first[:, -1])
    half.save(tmp_path / "half", config)
    rest = texts(DecodeState.load(tmp_path / "half", config), [0, 1], new=7)
    assert torch.equal(torch.cat([first, rest], 1), expected[:2])


def test_a_state_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "state"
    with pytest.raises(FileNotFoundError, match="state is missing"):
        DecodeState.load(path, TINY)
    state = prefill(HybridLM.create(TINY, seed=0), tokens(1, 5))
    state.save(path, TINY)
    with pytest.raises(ValueError, match="state: is the state of a network with another configuration"):
        DecodeState.load(path, replace(TINY, d_model=40))
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="state: is not a state of generation"):
        DecodeState.load(path, TINY)
    path.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="state: damaged"):
        DecodeState.load(path, TINY)


def test_a_state_with_a_wrong_tensor_is_refused(tmp_path):
    state = prefill(HybridLM.create(TINY, seed=0), tokens(1, 5))
    tensors = state.cache.tensors()
    with pytest.raises(
        ValueError, match=r"layers\.3\.k_BKTD has shape \(1, 2, 5, 8\), the network asks for \(1, 2, 6, 8\)"
    ):
        DecodeCache.from_tensors(TINY, tensors, batch=1, length=6)
    del tensors["layers.0.ssm_BHPN"]
    with pytest.raises(ValueError, match=r"layers\.0\.ssm_BHPN is missing"):
        DecodeCache.from_tensors(TINY, tensors, batch=1, length=5)


def test_networks_that_differ_are_not_stacked():
    states = [prefill(HybridLM.create(replace(TINY, pattern=p), seed=0), tokens(1, 5)) for p in ("M*", "*M")]
    with pytest.raises(ValueError, match="networks with different layers"):
        DecodeState.stack(states)


def test_seeds_and_streams_are_different_draws():
    draws = [uniform(*where) for where in itertools.product(range(20), range(20), range(20))]
    assert len(set(draws)) == 8000
    assert all(0 <= draw < 1 for draw in draws)
    assert np.histogram(draws, bins=8, range=(0, 1))[0] == pytest.approx([1000] * 8, abs=130)
    assert uniform(3, 1, 4) == draws[3 * 400 + 1 * 20 + 4]


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({}, [0, 1, 2, 3]),
        ({"top_k": 2}, [1, 3]),
        ({"top_p": 0.75}, [1, 3]),  # 0.5 alone does not reach it, 0.5 + 0.3 does
        ({"top_p": 0.5}, [3]),
        ({"top_k": 3, "top_p": 0.95}, [1, 2, 3]),
    ],
)
def test_shares_of_the_draws(options, allowed):
    """Draws on a fine grid fall into each token's share exactly."""
    probs = torch.tensor([0.05, 0.3, 0.15, 0.5], dtype=torch.float64)
    draws = [(i + 0.5) / 2000 for i in range(2000)]
    found = sample(probs.log().expand(2000, -1), Sampling(temperature=1.0, **options), draws)
    expected = torch.zeros(4, dtype=torch.float64)
    expected[allowed] = probs[allowed] / probs[allowed].sum()
    shares = torch.bincount(found, minlength=4) / 2000
    torch.testing.assert_close(shares.double(), expected, atol=1e-3, rtol=0)
    assert bool((shares[expected == 0] == 0).all())


def test_a_draw_of_almost_one_takes_a_token_that_is_allowed():
    logits = torch.tensor([[5.0, 4.0, 3.0, -40.0]])
    assert sample(logits, Sampling(temperature=1.0, top_k=2), [1 - 2.0**-53]).tolist() == [1]


def test_temperature_flattens():
    probs = torch.tensor([0.2, 0.8])
    draws = [(i + 0.5) / 3000 for i in range(3000)]
    found = sample(probs.log().expand(3000, -1), Sampling(temperature=2.0), draws)
    assert float((found == 0).float().mean()) == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature must not be negative"),
        ({"top_k": 0}, "top_k must be positive"),
        ({"top_p": 0.0}, "top_p must be in"),
        ({"seed": -1}, "seed must be in"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**options)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (tokens(1, 3), {"max_new_tokens": 0}, "max_new_tokens must be positive"),
        (tokens(1, 3), {"streams": [0, 1]}, "streams: 2 numbers for 1 rows"),
        (tokens(1, 3)[:, :0], {}, r"prompt_BL must have shape \(batch, length >= 1\), got \(1, 0\)"),
        (torch.tensor([[3, 97]]), {}, "token 97 is outside of the vocabulary of 97"),
        (torch.tensor([[-1, 4]]), {}, "token -1 is outside of the vocabulary"),
        (tokens(1, 3), {"attention_mask_BL": torch.tensor([[1, 1, 0]])}, "must be zeros on the left and then ones"),
        (tokens(1, 3), {"attention_mask_BL": torch.tensor([[0, 0, 0]])}, "at least one in every row"),
        (tokens(1, 3), {"attention_mask_BL": torch.tensor([[1, 1]])}, r"has shape \(1, 2\), the tokens \(1, 3\)"),
    ],
)
def test_wrong_arguments(prompt, options, message):
    model = HybridLM.create(TINY, seed=0)
    with pytest.raises(ValueError, match=message):
        generate(model, prompt, **{"max_new_tokens": 1, **options})


def test_a_mask_comes_with_the_first_tokens_alone():
    model = HybridLM.create(TINY, seed=0)
    cache = DecodeCache.empty(TINY, 1)
    model(tokens(1, 4), cache=cache)
    with pytest.raises(ValueError, match="belongs to the first tokens of a cache"):
        model(tokens(1, 2), cache=cache, attention_mask_BL=torch.tensor([[0, 1]]))
    with pytest.raises(ValueError, match="attention_mask_BL cannot be combined with seq_idx_BL"):
        model(tokens(1, 2), seq_idx_BL=torch.zeros(1, 2), attention_mask_BL=torch.ones(1, 2))
