"""Generation: stopping, and the distribution of the samplers."""

import pytest
import torch

from model.generate import generate, sample
from model.hybrid import HybridLM
from tests.model.common import TINY
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


def test_sampling_is_a_function_of_the_generator():
    model = HybridLM.create(TINY, seed=1)

    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return generate(model, tokens(2, 6), max_new_tokens=12, temperature=1.0, generator=generator)

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


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
def test_frequencies(options, allowed):
    probs = torch.tensor([0.05, 0.3, 0.15, 0.5])
    draws = sample(
        probs.log().expand(20_000, -1),
        temperature=1.0,
        generator=torch.Generator().manual_seed(0),
        **options,
    )
    expected = torch.zeros(4)
    expected[allowed] = probs[allowed] / probs[allowed].sum()
    frequency = torch.bincount(draws, minlength=4) / 20_000
    torch.testing.assert_close(frequency, expected, atol=0.015, rtol=0)
    assert bool((frequency[expected == 0] == 0).all())


def test_temperature_flattens():
    probs = torch.tensor([0.2, 0.8])
    draws = sample(probs.log().expand(20_000, -1), temperature=2.0, generator=torch.Generator().manual_seed(0))
    assert float((draws == 0).float().mean()) == pytest.approx(1 / 3, abs=0.015)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be positive"),
        ({"temperature": -1.0}, "temperature must not be negative"),
        ({"top_k": 0}, "top_k must be positive"),
        ({"top_p": 0.0}, "top_p must be in"),
    ],
)
def test_settings_out_of_range(options, message):
    model = HybridLM.create(TINY, seed=0)
    with pytest.raises(ValueError, match=message):
        generate(model, tokens(1, 3), **{"max_new_tokens": 1, **options})
