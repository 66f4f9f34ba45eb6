"""One token through a network: the C++ step against the oracle, for networks of random shape and memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import native
from kernels.decode import DECODER, decoder
from kernels.decode_cpu import Decoder
from kernels.decode_network import AttentionLayer, ExpertsLayer, FeedForwardLayer, Mamba2Layer, Network, Routing
from kernels.mamba2 import Settings, States, Weights

pytestmark = pytest.mark.skipif(not native.usable(torch.device("cpu")), reason="no C++ compiler here")

VOCABULARY, EPS = 41, 1e-5


class Maker:
    """Random tensors from one seed."""

    def __init__(self, seed, dtype=torch.float64):
        self.generator, self.dtype = torch.Generator().manual_seed(seed), dtype

    def normal(self, *shape, dtype=None):
        x = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return x.to(dtype or self.dtype)

    def matrix(self, outputs, inputs):
        return self.normal(outputs, inputs) / inputs**0.5

    def norm(self, width):
        return 1 + self.normal(width) / 5


def make_mamba2(make, width, groups, per_group, head_dim, state, taps):
    heads = groups * per_group
    inner = heads * head_dim
    channels = inner + 2 * groups * state
    weights = Weights(
        make.normal(channels, taps) / 2,
        make.normal(channels) / 9,
        make.normal(heads) - 1,
        make.normal(heads) / 2,
        make.normal(heads),
        make.norm(inner),
    )
    layer = Mamba2Layer(
        make.norm(width),
        make.matrix(inner + channels + heads, width),
        weights,
        Settings(groups, state, EPS, 16),
        make.matrix(width, inner),
    )
    return layer, lambda batch, room: States(
        make.normal(batch, taps - 1, channels), make.normal(batch, heads, head_dim, state)
    )


def make_attention(make, width, groups, per_group, head_dim, norms):
    q_width, kv_width = groups * per_group * head_dim, groups * head_dim
    layer = AttentionLayer(
        None if norms == "qkv" else make.norm(width),
        make.matrix(q_width, width),
        make.matrix(kv_width, width),
        make.matrix(kv_width, width),
        make.matrix(width, q_width),
        *(2 * make.norm(head_dim) if name in norms else None for name in "qkv"),
        head_dim=head_dim,
    )
    return layer, lambda batch, room: tuple(make.normal(batch, groups, room, head_dim) for _ in range(2))


def make_feed_forward(make, width, inner):
    layer = FeedForwardLayer(make.norm(width), make.matrix(inner, width), make.matrix(width, inner))
    return layer, lambda batch, room: None


def make_experts(make, width, inner, latent, routing, experts):
    across = width if latent is None else latent
    layer = ExpertsLayer(
        make.norm(width),
        make.matrix(experts, width),
        make.normal(experts, dtype=torch.float32) / 4,
        make.normal(experts, inner, across) / across**0.5,
        make.normal(experts, across, inner) / inner**0.5,
        make.matrix(2 * inner, width),
        make.matrix(width, 2 * inner),
        None if latent is None else make.matrix(latent, width),
        None if latent is None else make.matrix(width, latent),
        routing,
    )
    return layer, lambda batch, room: None


@st.composite
def layers(draw):
    """(maker, its arguments) of one layer."""
    few, size = st.integers(1, 3), st.integers(1, 37)
    kind = draw(st.sampled_from([make_mamba2, make_attention, make_feed_forward, make_experts]))
    if kind is make_mamba2:
        return kind, (draw(few), draw(few), draw(size), draw(size), draw(st.integers(2, 8)))
    if kind is make_attention:
        return kind, (draw(few), draw(few), draw(size), draw(st.sampled_from(["", "qk", "qkv"])))
    if kind is make_feed_forward:
        return kind, (draw(size),)
    groups, per_group = draw(few), draw(st.integers(2, 4))
    open_groups = draw(st.integers(1, groups))
    chosen = draw(st.integers(1, open_groups * per_group))
    routing = Routing(chosen, groups, open_groups, draw(st.booleans()), draw(st.sampled_from([1.0, 2.5])))
    return kind, (draw(size), draw(st.one_of(st.none(), size)), routing, groups * per_group)


def make_network(make, width, parts):
    made = [kind(make, width, *arguments) for kind, arguments in parts]
    network = Network(
        make.normal(VOCABULARY, width),
        tuple(layer for layer, _ in made),
        make.norm(width),
        make.matrix(VOCABULARY, width),
        EPS,
    )
    return network, lambda batch, room: [memory(batch, room) for _, memory in made]


def copied(memory, rows=slice(None)):
    kinds = (None if kept is None else States if isinstance(kept, States) else tuple for kept in memory)
    parts = ([] if kept is None else [tensor[rows].clone() for tensor in kept] for kept in memory)
    return [
        None if kind is None else States(*tensors) if kind is States else tuple(tensors)
        for kind, tensors in zip(kinds, parts, strict=True)
    ]


def flat(memory):
    return [tensor for kept in memory if kept is not None for tensor in kept if tensor is not None]


@settings(max_examples=25)
@given(
    parts=st.lists(layers(), min_size=1, max_size=4),
    width=st.integers(1, 40),
    rows=st.lists(st.tuples(st.integers(0, VOCABULARY - 1), st.floats(0, 1)), min_size=1, max_size=9),
    length=st.sampled_from([1, 7, 255, 256, 300, 520]),
    room=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_equals_the_oracle(parts, width, rows, length, room, seed):
    """In float64 to its precision; in float32 closely, and bit by bit what each row is alone, with any number of
    threads."""
    batch = len(rows)
    token = torch.tensor([token for token, _ in rows])
    padding = torch.tensor([int(share * length) for _, share in rows])

    def run(dtype, backend, threads=1, rows=slice(None)):
        network, memory_of = make_network(Maker(seed, dtype), width, parts)
        memory, step = copied(memory_of(batch, length + room), rows), decoder(network, backend=backend)
        if isinstance(step, Decoder):
            step._read = 1 << 30  # as if it were large enough for threads
        torch.set_num_threads(threads)
        try:
            return [step(token[rows], memory, length, padding[rows]), *flat(memory)]
        finally:
            torch.set_num_threads(1)

    expected, single = run(torch.float64, "ref"), run(torch.float32, "cpu")
    for actual, close, exact in zip(run(torch.float64, "cpu"), single, expected, strict=True):
        torch.testing.assert_close(actual, exact, rtol=1e-9, atol=1e-9)
        assert float((close - exact).norm()) <= 1e-5 * float(exact.norm())
    assert all(torch.equal(a, b) for a, b in zip(run(torch.float32, "cpu", threads=3), single, strict=True))
    for row in range(batch):
        alone = run(torch.float32, "cpu", rows=slice(row, row + 1))
        assert all(torch.equal(a[0], b[row]) for a, b in zip(alone, single, strict=True))


EVERYTHING = [
    (make_mamba2, (2, 2, 5, 7, 4)),
    (make_attention, (2, 2, 4, "qk")),
    (make_experts, (6, 5, Routing(2, 1, 1, True, 1.0), 4)),
    (make_feed_forward, (9,)),
]


def broken(network, index, **fields):
    changed = [layer._replace(**fields) if i == index else layer for i, layer in enumerate(network.layers)]
    return network._replace(layers=tuple(changed))


def test_a_network_that_does_not_fit_is_refused():
    make = Maker(0)
    network, _ = make_network(make, 12, EVERYTHING)
    mamba2, _, experts, _ = network.layers
    assert isinstance(mamba2, Mamba2Layer)
    assert isinstance(experts, ExpertsLayer)
    wrong = {
        r"layers\.3\.down_proj_DM has shape \(12, 8\), expected \(12, 9\)": (3, {"down_proj_DM": make.matrix(12, 8)}),
        r"layers\.1\.norm_D is of torch.float32, expected torch.float64": (1, {"norm_D": make.norm(12).float()}),
        r"layers\.2\.router_bias_N is of torch.float64": (2, {"router_bias_N": experts.router_bias_N.double()}),
        r"layers\.0: the sizes .* do not fit": (0, {"settings": mamba2.settings._replace(groups=3)}),
        r"layers\.1: the sizes .* do not fit": (1, {"head_dim": 8}),
        r"layers\.2: the sizes": (2, {"routing": Routing(5, 1, 1, True, 1.0)}),
        r"layers\.2: the sizes .*": (2, {"latent_in_XD": None}),
    }
    for message, (index, fields) in wrong.items():
        with pytest.raises(ValueError, match=message):
            decoder(broken(network, index, **fields))
    with pytest.raises(ValueError, match=r"layers\.3\.up_proj_MD is not contiguous"):
        decoder(broken(network, 3, up_proj_MD=make.matrix(12, 9).T))
    wide, _ = make_network(make, 12, [(make_mamba2, (1, 1, 5, 7, 9))])
    with pytest.raises(ValueError, match=r"layers\.0: 9 taps of the convolution are more than 8"):
        decoder(wide)


def test_a_wrong_step_changes_nothing():
    network, memory_of = make_network(Maker(0), 12, EVERYTHING)
    step, memory = decoder(network), memory_of(2, 5)
    before = copied(memory)
    token, padding = torch.tensor([3, 4]), torch.tensor([0, 1])
    states, (keys, values) = memory[0], memory[1]
    wrong = [
        ("token 41 of row 1 is outside of the vocabulary of 41", (torch.tensor([3, 41]), memory, 4, padding)),
        ("token -1 of row 0", (torch.tensor([-1, 4]), memory, 4, padding)),
        (r"padding_B is \[0, 5\], expected from 0 to 4", (token, memory, 4, torch.tensor([0, 5]))),
        (r"padding_B has shape \(1,\)", (token, memory, 4, padding[:1])),
        ("memory of 3 layers, the network has 4", (token, memory[:3], 4, padding)),
        (r"layers\.1: there is memory for 5 positions, 5 came before", (token, memory, 5, padding)),
        (r"layers\.1: the second tensor", (token, [states, (keys, values[:1]), None, None], 4, padding)),
        (r"layers\.1: .* not contiguous", (token, [states, (keys, values.mT.contiguous().mT), None, None], 4, padding)),
        (r"layers\.0: the first tensor of memory is None", (token, [None, memory[1], None, None], 4, padding)),
        (
            r"layers\.0: .* of torch.float32",
            (token, [States(*(t.float() for t in states)), *memory[1:]], 4, padding),
        ),
    ]
    for message, arguments in wrong:
        with pytest.raises(ValueError, match=message):
            step(*arguments)
    assert all(torch.equal(a, b) for a, b in zip(flat(memory), flat(before), strict=True))
    step(token, memory, 4, padding)
    assert not all(torch.equal(a, b) for a, b in zip(flat(memory), flat(before), strict=True))


@pytest.mark.parametrize("part", EVERYTHING)
@pytest.mark.parametrize("place", [5, -5])
def test_nan_reaches_the_output(part, place):
    network, memory_of = make_network(Maker(1), 12, [part])
    network.layers[0][1].view(-1)[place] = float("nan")  # in_proj, q_proj, the router, up_proj
    logits = decoder(network)(torch.tensor([3]), memory_of(1, 5), 4, torch.tensor([0]))
    assert bool(torch.isnan(logits).any())


def test_there_is_no_step_in_torch(monkeypatch):
    network, _ = make_network(Maker(0), 12, EVERYTHING)
    monkeypatch.setenv("STILLHOUSE_KERNELS", "torch")
    with pytest.raises(RuntimeError, match="decoder: no backend runs on cpu"):
        decoder(network)
    assert DECODER.backends("cpu") == ["cpu", "ref"]
