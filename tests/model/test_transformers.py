"""Checkpoints and numbers against transformers' own NemotronH, in float32."""

import json

import pytest
import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.generate import generate
from model.hybrid import HybridLM
from tests.model.common import VARIANTS
from tests.model.test_hybrid import relative_error, tokens

NemotronHForCausalLM = pytest.importorskip("transformers").NemotronHForCausalLM

LENGTH = 45  # 2 chunks of 16 and a ragged third
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=VARIANTS)
def pair(request, tmp_path_factory):
    """Our model, and transformers' one read from our checkpoint."""
    ours = HybridLM.create(VARIANTS[request.param], seed=3)
    with torch.no_grad():  # norms and D away from 1, so that a swapped one shows
        for name, parameter in ours.named_parameters():
            if name.endswith(("norm.weight", "norm_f.weight", ".D")):
                parameter.mul_(torch.linspace(0.5, 1.5, parameter.numel()))
    folder = tmp_path_factory.mktemp(request.param)
    save_checkpoint(ours, folder)
    theirs, info = NemotronHForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    return ours, theirs.eval(), info, folder


def test_loads_without_a_missing_or_unexpected_key(pair):
    _, _, info, _ = pair
    assert {key: len(value) for key, value in info.items()} == dict.fromkeys(info, 0)
    assert {"missing_keys", "unexpected_keys", "mismatched_keys"} <= set(info)


def test_prefill_logits(pair):
    ours, theirs, _, _ = pair
    ids = tokens(2, LENGTH)
    with torch.no_grad():
        expected = theirs(ids, use_cache=False).logits
        actual = ours(ids)
    assert relative_error(actual, expected) < TOLERANCE
    for position in (0, 15, 16, 32, LENGTH - 1):
        assert relative_error(actual[:, position], expected[:, position]) < TOLERANCE


def test_cached_decoding_logits(pair):
    ours, theirs, _, _ = pair
    from model.cache import DecodeCache

    ids = tokens(2, LENGTH)
    cache = DecodeCache.empty(ours.config, 2, max_length=LENGTH)
    with torch.no_grad():
        out = theirs(ids[:, :20], use_cache=True)
        actual = ours(ids[:, :20], cache=cache)
        assert relative_error(actual, out.logits) < TOLERANCE
        for t in range(20, LENGTH):
            new = ids[:, t : t + 1]
            out = theirs(new, past_key_values=out.past_key_values, use_cache=True)
            assert relative_error(ours(new, cache=cache), out.logits) < TOLERANCE, t


def test_greedy_generation(pair):
    ours, theirs, _, _ = pair
    prompt = tokens(2, 19, seed=5)
    expected = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=25, do_sample=False, eos_token_id=None
    )
    assert torch.equal(generate(ours, prompt, max_new_tokens=25), expected)


def test_reads_what_transformers_saves(pair, tmp_path):
    ours, theirs, _, _ = pair
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert "hybrid_override_pattern" not in json.loads((tmp_path / "config.json").read_text())
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = load_checkpoint(tmp_path)
    assert again.config == ours.config
    ids = tokens(2, LENGTH)
    with torch.no_grad():
        assert torch.equal(again(ids), ours(ids))


def test_gradients(pair):
    ours, theirs, _, _ = pair
    ids = tokens(2, LENGTH)
    theirs.zero_grad()
    ours.zero_grad()
    theirs(ids, use_cache=False).logits.square().mean().backward()
    ours(ids).square().mean().backward()
    expected = {name.replace("model.", "backbone.", 1): p.grad for name, p in theirs.named_parameters()}
    tied = ours.config.tie_word_embeddings
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        reference = expected[name]
        if tied and name == "backbone.embeddings.weight" and "lm_head.weight" in expected:
            reference = reference + expected["lm_head.weight"]  # transformers leaves the two apart
        assert relative_error(parameter.grad, reference) < 1e-4, name
