"""Checkpoints and numbers against transformers' own NemotronH, in float32."""

import itertools
import json
from dataclasses import replace

import pytest
import torch

from model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from model.generate import generate, prefill
from model.hybrid import HybridLM
from model.slicing import slice_model, sort_model, width_axes
from tests.model.common import OWN, VARIANTS, shake
from tests.model.slicing_cases import random_scores, smaller
from tests.model.test_hybrid import relative_error, tokens

NemotronHForCausalLM = pytest.importorskip("transformers").NemotronHForCausalLM

LENGTH = 45  # 2 chunks of 16 and a ragged third
TOLERANCE = 1e-5


@pytest.mark.parametrize("name", OWN)
def test_refuses_networks_that_it_would_compute_wrongly(name, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    save_checkpoint(HybridLM.create(OWN[name], seed=0), tmp_path)
    for reader in (AutoConfig, AutoModelForCausalLM):
        with pytest.raises(ValueError, match="stillhouse_hybrid"):
            reader.from_pretrained(tmp_path)


@pytest.fixture(scope="module", params=VARIANTS)
def pair(request, tmp_path_factory):
    """Our model, and transformers' one read from our checkpoint."""
    ours = shake(HybridLM.create(VARIANTS[request.param], seed=3))
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


def test_stepwise_decoding_logits(pair):
    """The path of generation, one call a token, behind a prefill."""
    ours, theirs, _, _ = pair
    ids = tokens(3, 30, seed=4)
    state = prefill(ours, ids[:, :20])
    with torch.no_grad():
        out = theirs(ids[:, :20], use_cache=True)
        for t in range(20, 30):
            out = theirs(ids[:, t : t + 1], past_key_values=out.past_key_values, use_cache=True)
            state.advance(ours, ids[:, t])
            assert relative_error(state.logits_BV, out.logits[:, -1]) < TOLERANCE, t


def test_greedy_generation(pair):
    ours, theirs, _, _ = pair
    prompt = tokens(2, 19, seed=5)
    expected = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=25, do_sample=False, eos_token_id=None
    )
    assert torch.equal(generate(ours, prompt, max_new_tokens=25), expected)


def test_greedy_generation_of_prompts_of_unequal_length(pair):
    ours, theirs, _, _ = pair
    prompt = tokens(3, 21, seed=6)
    mask = (torch.arange(21) >= torch.tensor([0, 13, 20])[:, None]).long()
    prompt = prompt * mask  # the padding token is 0
    expected = theirs.generate(prompt, attention_mask=mask, max_new_tokens=15, do_sample=False, eos_token_id=None)
    assert torch.equal(generate(ours, prompt, attention_mask_BL=mask, max_new_tokens=15), expected)


@pytest.mark.parametrize("padding", [[0, 7], [20, 1], [29, 28]])
def test_left_padding(pair, padding):
    """Prefill and cached decoding of rows with padding on the left, down to a single token of text."""
    ours, theirs, _, _ = pair
    from model.cache import DecodeCache

    ids, length = tokens(2, LENGTH), 30
    mask = (torch.arange(LENGTH) >= torch.tensor(padding)[:, None]).long()
    cache = DecodeCache.empty(ours.config, 2)
    with torch.no_grad():
        out = theirs(ids[:, :length], attention_mask=mask[:, :length], use_cache=True)
        uncached = ours(ids[:, :length], attention_mask_BL=mask[:, :length])
        actual = ours(ids[:, :length], attention_mask_BL=mask[:, :length], cache=cache)
        assert relative_error(actual, uncached) < 1e-6
        for row, start in enumerate(padding):
            assert relative_error(actual[row, start:], out.logits[row, start:]) < TOLERANCE
            assert relative_error(actual[row, start:], ours(ids[row : row + 1, start:length])[0]) < TOLERANCE
        for t in range(length, LENGTH - 6):
            new = ids[:, t : t + 1]
            out = theirs(new, attention_mask=mask[:, : t + 1], past_key_values=out.past_key_values, use_cache=True)
            assert relative_error(ours(new, cache=cache), out.logits) < TOLERANCE, t
        rest = ours(ids[:, LENGTH - 6 :], cache=cache)
        for row, start in enumerate(padding):
            assert relative_error(rest[row], theirs(ids[row : row + 1, start:]).logits[0, -6:]) < TOLERANCE


def test_packed_documents_equal_separate_ones_of_transformers(pair):
    ours, theirs, _, _ = pair
    ids = tokens(1, 70)
    bounds = [0, 5, 32, 33, 70]
    seq_idx = torch.zeros(1, 70, dtype=torch.long)
    for start in bounds[1:-1]:
        seq_idx[:, start:] += 1
    with torch.no_grad():
        packed = ours(ids, seq_idx_BL=seq_idx)
        for start, end in itertools.pairwise(bounds):
            assert relative_error(packed[:, start:end], theirs(ids[:, start:end]).logits) < TOLERANCE


def test_reads_what_transformers_saves(pair, tmp_path):
    ours, theirs, _, _ = pair
    if ours.mtp is not None:  # transformers has no multi-token prediction and drops its tensors
        theirs.save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match=r"missing tensors: mtp\.layers\.0\.eh_proj\.weight"):
            load_checkpoint(tmp_path)
        return
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert "hybrid_override_pattern" not in json.loads((tmp_path / "config.json").read_text())
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = load_checkpoint(tmp_path)
    assert again.config == ours.config
    ids = tokens(2, LENGTH)
    with torch.no_grad():
        assert torch.equal(again(ids), ours(ids))


def test_a_sorted_and_sliced_network_is_read_with_equal_logits(pair, tmp_path):
    ours = pair[0]
    model, _ = sort_model(ours, random_scores(ours.config))
    target = model.config
    for axis in width_axes(target):
        target = smaller(target, axis)
    # torch's product for groups of rows, which transformers uses, asks for rows of a multiple of 16 bytes.
    target = replace(target, moe_intermediate_size=target.moe_intermediate_size // 4 * 4)
    if target.moe_latent_size is not None:
        target = replace(target, moe_latent_size=8)
    student, _ = slice_model(model, target)
    save_checkpoint(student, tmp_path)
    theirs, info = NemotronHForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert {key: len(value) for key, value in info.items()} == dict.fromkeys(info, 0)
    ids = tokens(2, LENGTH)
    with torch.no_grad():
        assert relative_error(student(ids), theirs(ids, use_cache=False).logits) < TOLERANCE


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
        if name.startswith("mtp."):
            assert parameter.grad is None
            continue
        assert parameter.grad is not None
        reference = expected[name]
        if tied and name == "backbone.embeddings.weight" and "lm_head.weight" in expected:
            reference = reference + expected["lm_head.weight"]  # transformers leaves the two apart
        assert relative_error(parameter.grad, reference) < 1e-4, name
