"""One token through a whole network, for a batch of rows: what decoding does again and again.

Shape suffixes: B rows, T positions that fit, V vocabulary, F chosen experts; others as in kernels.decode_network.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from kernels import native
from kernels.decode_cpu import Decoder
from kernels.decode_network import AttentionLayer, ExpertsLayer, FeedForwardLayer, Layer, Mamba2Layer, Network
from kernels.dispatch import Operation
from kernels.mamba2 import States, mamba2_mix
from kernels.relu2 import squared_relu
from kernels.rmsnorm import rms_norm

Memory = States | tuple[Tensor, Tensor] | None
"""What a layer keeps: the states of a Mamba-2 layer, or buffers k_BKTA and v_BKTA of K key-value heads."""

Step = Callable[[Tensor, Sequence[Memory], int, Tensor], Tensor]
"""step(token_B, memory of each layer, length, padding_B) -> logits_BV of the next token.

`length` positions came before, of which the first `padding_B` of a row are padding. States are updated in place; keys
and values are written at position `length`, which must fit. Raises ValueError for a token outside of the vocabulary
and for memory whose shape or type does not fit; nothing is changed then.
"""

DECODER: Operation[Callable[[Network], Step]] = Operation("decoder")


def decoder(network: Network, *, backend: str = "auto") -> Step:
    """A step through `network`. It reads the weights where they lie, at every call.

    Raises ValueError where shapes do not fit, RuntimeError where no backend runs on these tensors: there is none in
    torch but the oracle.
    """
    network.check()
    weight = network.embeddings_VD
    return DECODER.select(backend, weight.device, weight.dtype)(network)


DECODER.register("cpu", usable=native.usable, dtypes=native.DTYPES)(Decoder)


@DECODER.register("ref")
def _decoder_ref(network: Network) -> Step:
    return partial(_step_ref, network)


@torch.no_grad()
def _step_ref(network: Network, token_B: Tensor, memory: Sequence[Memory], length: int, padding_B: Tensor) -> Tensor:
    x_BD = network.embeddings_VD[token_B]
    for layer, kept in zip(network.layers, memory, strict=True):
        normed_BD = x_BD if layer.norm_D is None else rms_norm(x_BD, layer.norm_D, eps=network.eps, backend="ref")
        x_BD = x_BD + _mixed(layer, normed_BD, kept, length, padding_B, network.eps)
    return rms_norm(x_BD, network.norm_D, eps=network.eps, backend="ref") @ network.head_VD.T


def _mixed(layer: Layer, x_BD: Tensor, memory: Memory, length: int, padding_B: Tensor, eps: float) -> Tensor:
    if isinstance(layer, Mamba2Layer):
        assert isinstance(memory, States)
        y_B1I, *new = mamba2_mix(
            (x_BD @ layer.in_proj_ED.T)[:, None], layer.weights, layer.settings, states=memory, backend="ref"
        )
        for state, after in zip(memory, new, strict=True):
            assert state is not None
            state.copy_(after)
        return y_B1I[:, 0] @ layer.out_proj_DI.T
    if isinstance(layer, FeedForwardLayer):
        return squared_relu(x_BD @ layer.up_proj_MD.T, backend="ref") @ layer.down_proj_DM.T
    if isinstance(layer, AttentionLayer):
        assert isinstance(memory, tuple)
        return _attend(layer, x_BD, memory, length, padding_B, eps)
    return torch.stack([_experts(layer, x_D) for x_D in x_BD])


def _attend(layer, x_BD, memory, length, padding_B, eps):
    pairs = ((layer.q_proj_QD, layer.q_norm_A), (layer.k_proj_JD, layer.k_norm_A), (layer.v_proj_JD, layer.v_norm_A))
    heads = []
    for matrix, norm_A in pairs:
        rows = (x_BD @ matrix.T).unflatten(-1, (-1, layer.head_dim))
        heads.append(rows if norm_A is None else rms_norm(rows, norm_A, eps=eps, backend="ref"))
    for buffer_BKTA, new_BKA in zip(memory, heads[1:], strict=True):
        buffer_BKTA[:, :, length] = new_BKA
    y_BHA = torch.empty_like(heads[0])
    for row, start in enumerate(padding_B.tolist()):
        for head, q_A in enumerate(heads[0][row]):
            group = head * heads[1].shape[1] // heads[0].shape[1]
            k_TA, v_TA = (buffer_BKTA[row, group, start : length + 1] for buffer_BKTA in memory)
            y_BHA[row, head] = torch.softmax(k_TA @ q_A / layer.head_dim**0.5, 0) @ v_TA
    return y_BHA.flatten(1) @ layer.o_proj_DQ.T


def _experts(layer: ExpertsLayer, x_D: Tensor) -> Tensor:
    routing = layer.routing
    score_N = torch.sigmoid(layer.router_ND @ x_D)
    choice = (score_N + layer.router_bias_N).view(routing.groups, -1)
    if routing.open_groups < routing.groups:
        best = choice.topk(2).values.sum(-1).topk(routing.open_groups).indices
        closed = torch.ones(routing.groups, dtype=torch.bool).index_fill(0, best, False)
        choice = choice.masked_fill(closed[:, None], -torch.inf)
    chosen_F = choice.flatten().topk(routing.chosen).indices
    weight_F = score_N[chosen_F]
    if routing.normalised:
        weight_F = weight_F / weight_F.sum()
    x_X = x_D if layer.latent_in_XD is None else layer.latent_in_XD @ x_D
    y_X = torch.zeros_like(x_X)
    for expert, weight in zip(chosen_F.tolist(), weight_F * routing.scale, strict=True):
        inner_M = squared_relu(layer.up_proj_NMX[expert] @ x_X, backend="ref")
        y_X = y_X + weight * (layer.down_proj_NXM[expert] @ inner_M)
    y_D = y_X if layer.latent_out_DX is None else layer.latent_out_DX @ y_X
    shared_S = squared_relu(layer.shared_up_SD @ x_D, backend="ref")
    return layer.shared_down_DS @ shared_S + y_D
