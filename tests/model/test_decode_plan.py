"""One call a token against the layer-wise path: networks of random configuration, states that are moved about, weights
that change; and what goes layer by layer."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kernels import native
from model import decode_plan as plans
from model.config import HybridConfig
from model.config_checks import ATTENTION_NORMS
from model.decode_plan import Declined, DecodePlan, decode_plan
from model.generate import DecodeState, generate, prefill
from model.hybrid import HybridLM
from model.moe import counting
from tests.model.common import EXPERTS, OWN, TIED, TINY, VARIANTS, shake
from tests.model.test_hybrid import relative_error, tokens

needs_kernels = pytest.mark.skipif(not native.usable(torch.device("cpu")), reason="no C++ compiler here")


@torch.no_grad()
def advance_by_layers(state, model, token_B):
    """What `advance` does where there is no plan."""
    state.logits_BV = model(token_B[:, None], cache=state.cache)[:, -1]


def assert_equal_states(actual, expected, tolerance):
    assert actual.positions == expected.positions
    assert relative_error(actual.logits_BV, expected.logits_BV) < tolerance
    theirs = expected.cache.tensors()
    for name, tensor in actual.cache.tensors().items():
        assert tensor.shape == theirs[name].shape
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e3 * tolerance)


@st.composite
def configs(draw):
    few, size = st.integers(1, 3), st.integers(1, 21)
    groups, kv_heads, expert_groups = draw(few), draw(few), draw(few)
    per_group, open_groups = draw(st.integers(2, 4)), draw(st.integers(1, expert_groups))
    return HybridConfig(
        pattern="".join(draw(st.lists(st.sampled_from("M*-E"), min_size=1, max_size=5))),
        vocab_size=97,
        d_model=draw(size),
        intermediate_size=draw(size),
        num_attention_heads=kv_heads * draw(few),
        num_key_value_heads=kv_heads,
        head_dim=draw(size),
        mamba_num_heads=groups * draw(few),
        mamba_head_dim=draw(size),
        ssm_state_size=draw(size),
        n_groups=groups,
        conv_kernel=draw(st.integers(2, 6)),
        chunk_size=16,
        initializer_range=0.3,
        tie_word_embeddings=draw(st.booleans()),
        attention_norm=draw(st.sampled_from(ATTENTION_NORMS)),
        n_routed_experts=expert_groups * per_group,
        num_experts_per_tok=draw(st.integers(1, open_groups * per_group)),
        moe_intermediate_size=draw(size),
        moe_shared_expert_intermediate_size=draw(size),
        moe_latent_size=draw(st.one_of(st.none(), size)),
        routed_scaling_factor=2.5,
        norm_topk_prob=draw(st.booleans()),
        n_group=expert_groups,
        topk_group=open_groups,
    )


@needs_kernels
@settings(max_examples=25)
@given(
    config=configs(),
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    moves=st.lists(st.sampled_from(["step", "fork", "stack", "rows", "save", "train"]), min_size=3, max_size=8),
    seed=st.integers(0, 99),
)
def test_equals_the_layers_whatever_happens_between_tokens(config, lengths, moves, seed, tmp_path_factory):
    """In float64, where rounding decides no near tie between experts. Memory grows: there is room for 2 tokens."""
    model = shake(HybridLM.create(config, seed=seed)).cast(torch.float64)
    width = max(lengths)
    mask = (torch.arange(width) >= width - torch.tensor(lengths)[:, None]).long()
    ours, theirs = (
        prefill(model, tokens(len(lengths), width, seed=seed), attention_mask_BL=mask, room=2) for _ in range(2)
    )
    path = tmp_path_factory.mktemp("states") / "state"
    for number, move in enumerate(["step", *moves]):
        if move == "fork":
            ours, theirs = ours.fork(2).rows([0, -1]), theirs.fork(2).rows([0, -1])
        elif move == "rows":
            ours, theirs = ours.rows([0]), theirs.rows([0])
        elif move == "stack":
            other = tokens(1, 23, seed=number)
            ours, theirs = (DecodeState.stack([state, prefill(model, other)]) for state in (ours, theirs))
        elif move == "save":
            ours.save(path, config)
            ours = DecodeState.load(path, config)
        elif move == "train":
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1 + 0.1 * torch.cos(torch.arange(parameter.numel())).view_as(parameter))
        token_B = tokens(len(ours.logits_BV), 1, seed=number)[:, 0]
        assert isinstance(decode_plan(model), DecodePlan)
        ours.advance(model, token_B)
        advance_by_layers(theirs, model, token_B)
        theirs.logits_BV = theirs.logits_BV.float()
        assert_equal_states(ours, theirs, 1e-6 if ours.logits_BV.dtype == torch.float32 else 1e-10)


@needs_kernels
@pytest.mark.parametrize("name", [*VARIANTS, *OWN])
def test_float32_and_the_same_tokens(name, monkeypatch):
    model = shake(HybridLM.create({**VARIANTS, **OWN}[name], seed=2))
    state, by_layers = (prefill(model, tokens(3, 9)) for _ in range(2))
    for number in range(4):
        token_B = tokens(3, 1, seed=number)[:, 0]
        state.advance(model, token_B)
        advance_by_layers(by_layers, model, token_B)
        assert_equal_states(state, by_layers, 1e-5)
    found = generate(model, tokens(2, 5), max_new_tokens=20)
    monkeypatch.setenv("STILLHOUSE_KERNELS", "torch")
    assert torch.equal(found, generate(model, tokens(2, 5), max_new_tokens=20))


@needs_kernels
def test_a_row_has_the_same_bits_in_every_batch():
    model = shake(HybridLM.create(EXPERTS["latent_moe"], seed=2))
    alone = [prefill(model, tokens(1, length, seed=length)) for length in (3, 19, 8)]
    together = DecodeState.stack(alone)
    for number in range(5):
        token_B = tokens(3, 1, seed=number)[:, 0]
        together.advance(model, token_B)
        for row, state in enumerate(alone):
            state.advance(model, token_B[row : row + 1])
            assert torch.equal(together.logits_BV[row], state.logits_BV[0])


def replace_data(model):
    weight = model.backbone.layers[1].mixer.up_proj.weight
    weight.data = weight.data + 1


def replace_parameter(model):
    model.backbone.layers[0].mixer.A_log = nn.Parameter(model.backbone.layers[0].mixer.A_log.detach() - 1)


def replace_module(model):
    model.backbone.layers[2] = HybridLM.create(TINY, seed=9).backbone.layers[2]


def untie(model):
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().flip(0).clone())


@needs_kernels
@pytest.mark.parametrize("change", [replace_data, replace_parameter, replace_module, untie])
def test_a_network_that_changes_is_planned_again(change):
    model = HybridLM.create(TIED, seed=1)
    state, token_B = prefill(model, tokens(2, 6)), tokens(2, 1)[:, 0]
    state.advance(model, token_B)
    plan = decode_plan(model)
    assert decode_plan(model) is plan
    with torch.no_grad():
        change(model)
    assert decode_plan(model) is not plan
    by_layers = state.rows([0, 1])
    state.advance(model, token_B)
    advance_by_layers(by_layers, model, token_B)
    assert_equal_states(state, by_layers, 1e-5)


class Doubled(nn.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


def add_hook(model):
    model.backbone.layers[1].mixer.register_forward_hook(lambda module, inputs, output: 2 * output)


def add_bias(model):
    model.backbone.layers[1].mixer.up_proj.bias = nn.Parameter(torch.ones(TINY.intermediate_size))


def change_class(model):
    model.backbone.layers[1].mixer.up_proj.__class__ = Doubled


def change_forward(model):
    layer = model.backbone.layers[1].mixer
    layer.forward = lambda x: 2 * type(layer).forward(layer, x)


def transpose_storage(model):
    weight = model.backbone.layers[1].mixer.up_proj.weight
    weight.data = weight.data.T.contiguous().T


REASONS = {
    "has hooks": add_hook,
    "up_proj has a bias": add_bias,
    "up_proj is a Doubled": change_class,
    "mixer is a FeedForward that is not the family's own": change_forward,
    "layers.1.up_proj_MD is not contiguous": transpose_storage,
    "for bfloat16": lambda model: model.cast(torch.bfloat16),
}


@needs_kernels
@pytest.mark.parametrize("reason", REASONS)
def test_other_networks_go_layer_by_layer(reason):
    """Also where the network becomes such a one after a plan was made."""
    model = HybridLM.create(TINY, seed=1)
    assert isinstance(decode_plan(model), DecodePlan)
    REASONS[reason](model)
    declined = decode_plan(model)
    assert isinstance(declined, Declined)
    assert reason in str(declined)
    state, token_B = prefill(model, tokens(2, 6)), tokens(2, 1)[:, 0]
    by_layers = state.rows([0, 1])
    state.advance(model, token_B)
    advance_by_layers(by_layers, model, token_B)
    assert torch.equal(state.logits_BV, by_layers.logits_BV.float())


@needs_kernels
def test_what_surrounds_a_network_decides_too(monkeypatch):
    model = HybridLM.create(EXPERTS["moe"], seed=1)
    state, token_B = prefill(model, tokens(2, 6)), tokens(2, 1)[:, 0]
    assert isinstance(decode_plan(model), DecodePlan)
    with counting(model) as counts:
        assert "tokens of each expert are being counted" in str(decode_plan(model))
        state.advance(model, token_B)
    assert all(int(counts_N.sum()) == 2 * 3 for counts_N in counts.values())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast" in str(decode_plan(model))
    monkeypatch.setenv("STILLHOUSE_KERNELS", "torch")
    assert "decoder: no backend runs on cpu" in str(decode_plan(model))
    monkeypatch.delenv("STILLHOUSE_KERNELS")
    assert isinstance(decode_plan(model), DecodePlan)


@needs_kernels
def test_a_field_that_the_plan_does_not_know_is_no_secret(monkeypatch):
    monkeypatch.setattr(plans, "FIELDS", plans.FIELDS.replace("attention_norm", "").replace("conv_kernel", ""))
    assert isinstance(decode_plan(HybridLM.create(TINY, seed=1)), DecodePlan)  # they have their defaults
    declined = decode_plan(HybridLM.create(OWN["qk_norm"], seed=1))
    assert str(declined) == "attention_norm is 'qk', which the plan does not know"
    wide = HybridLM.create(replace(TINY, conv_kernel=9), seed=1)
    assert "conv_kernel is 9" in str(decode_plan(wide))
    monkeypatch.undo()
    assert "9 taps of the convolution are more than 8" in str(decode_plan(wide))


@needs_kernels
def test_a_wrong_token_changes_nothing():
    model = HybridLM.create(TINY, seed=1)
    state = prefill(model, tokens(2, 6))
    before = {name: tensor.clone() for name, tensor in state.cache.tensors().items()}
    with pytest.raises(ValueError, match="token 97 of row 1 is outside of the vocabulary of 97"):
        state.advance(model, torch.tensor([3, 97]))
    assert state.positions == [6, 6]
    assert all(torch.equal(before[name], tensor) for name, tensor in state.cache.tensors().items())
