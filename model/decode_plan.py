"""A network as kernels.decode takes tokens through it, or why it cannot be described so.

The plan of a network is made once and kept while the network is what it was: the same modules, the same tensors at the
same addresses. The step reads the weights where they lie, so that training between tokens needs no new plan.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from kernels.decode import DECODER, Memory, Step, decoder
from kernels.decode_network import AttentionLayer, ExpertsLayer, FeedForwardLayer, Layer, Mamba2Layer, Network, Routing
from kernels.mamba2 import Settings, States, Weights
from model.attention import Attention, HeadNorm
from model.block import Block, RMSNorm
from model.cache import AttentionState, DecodeCache, MambaState
from model.config import HybridConfig
from model.ffn import FeedForward
from model.hybrid import Backbone, HybridLM
from model.linear import Linear
from model.mamba2 import GatedRMSNorm, Mamba2Mixer
from model.moe import Experts, MixtureOfExperts, Router

MODULES = (
    *(HybridLM, Backbone, Block, RMSNorm, Mamba2Mixer, GatedRMSNorm, Attention, HeadNorm, FeedForward),
    *(MixtureOfExperts, Experts, Router, Linear, nn.Conv1d, nn.Embedding, nn.ModuleList, nn.Identity),
)
"""What the plan describes, to the letter: a subclass may compute something else."""

FIELDS = (
    "pattern vocab_size d_model intermediate_size num_attention_heads num_key_value_heads head_dim mamba_num_heads "
    "mamba_head_dim ssm_state_size n_groups conv_kernel chunk_size layer_norm_epsilon initializer_range "
    "tie_word_embeddings max_position_embeddings bos_token_id eos_token_id pad_token_id attention_norm "
    "n_routed_experts num_experts_per_tok moe_intermediate_size moe_shared_expert_intermediate_size moe_latent_size "
    "routed_scaling_factor norm_topk_prob n_group topk_group num_nextn_predict_layers mtp_hybrid_override_pattern"
)
"""The fields of a configuration that the plan knows; others must have their defaults."""


class Declined(Exception):
    """Why a network goes layer by layer."""


@dataclass(frozen=True, kw_only=True)
class DecodePlan:
    """One call a token for the whole network."""

    step: Step
    still_holds: Callable[[], bool]

    def advance(self, cache: DecodeCache, token_B: Tensor) -> Tensor:
        """logits_BV behind one more token of every row, which the cache then holds."""
        memory: list[Memory] = []
        for state in cache.layers:
            if isinstance(state, MambaState):
                state.conv_BSC, state.ssm_BHPN = state.conv_BSC.contiguous(), state.ssm_BHPN.contiguous()
                memory.append(States(state.conv_BSC, state.ssm_BHPN))
            elif isinstance(state, AttentionState):
                state.reserve(cache.length + 1)
                memory.append((state.k_BKTD, state.v_BKTD))
            else:
                memory.append(None)
        logits_BV = self.step(token_B, memory, cache.length, cache.padding_B)
        for state in cache.layers:
            if isinstance(state, AttentionState):
                state.length += 1
        cache.length += 1
        return logits_BV


_plans: "WeakKeyDictionary[HybridLM, DecodePlan]" = WeakKeyDictionary()


def decode_plan(model: HybridLM) -> DecodePlan | Declined:
    """The plan of a network as it is now, or why there is none."""
    try:
        _check_surroundings(model)
        plan = _plans.get(model)
        if plan is None or not plan.still_holds():
            _plans.pop(model, None)
            plan = _plans[model] = _make_plan(model)
        return plan
    except Declined as reason:
        return reason


def _check_surroundings(model: HybridLM) -> None:
    """Decline for what may change though the network does not."""
    if torch.is_autocast_enabled("cpu"):
        raise Declined("autocast changes the precision of products")
    weight = model.lm_head.weight
    try:
        DECODER.select("auto", weight.device, weight.dtype)
    except RuntimeError as error:
        raise Declined(f"{error} for {str(weight.dtype).removeprefix('torch.')}") from error


class _Snapshot:
    """What a plan was made from: modules, their classes, their tensors, addresses and types of these; and what else
    would change a forward pass."""

    def __init__(self, model: HybridLM) -> None:
        modules = [*model.backbone.modules(), model.lm_head]
        entries = [
            (owned, *item)
            for m in modules
            for owned in (m._modules, m._parameters, m._buffers)
            for item in owned.items()
        ]
        self._entries = [*entries, *((model._modules, name, model._modules[name]) for name in ("backbone", "lm_head"))]
        self._tensors = [thing for _, _, thing in entries if isinstance(thing, Tensor)]
        self._addresses = [tensor.data_ptr() for tensor in self._tensors]
        self._types = [tensor.dtype for tensor in self._tensors]
        self._modules = [model, *modules]
        self._classes = [type(module) for module in self._modules]
        self._hooks = [hooks for m in self._modules for hooks in (m._forward_pre_hooks, m._forward_hooks)]
        self._attributes = [vars(module) for module in self._modules]
        self._routers = [module for module in modules if isinstance(module, Router)]

    def holds(self) -> bool:
        return (
            all([owned.get(name) is thing for owned, name, thing in self._entries])
            and [tensor.data_ptr() for tensor in self._tensors] == self._addresses
            and [tensor.dtype for tensor in self._tensors] == self._types
            and [type(module) for module in self._modules] == self._classes
            and not any(self._hooks)
            and not any(["forward" in attributes for attributes in self._attributes])
            and all(router.counts_N is None for router in self._routers)
        )


def _make_plan(model: HybridLM) -> DecodePlan:
    config = model.config
    for field in fields(config):
        if field.name not in FIELDS.split() and getattr(config, field.name) != field.default:
            raise Declined(f"{field.name} is {getattr(config, field.name)!r}, which the plan does not know")
    for name, module in [
        *model.backbone.named_modules(prefix="backbone"),
        ("lm_head", model.lm_head),
        ("model", model),
    ]:
        _check_module(name, module)
    layers = tuple(_layer(config, block) for block in model.backbone.layers)
    network = Network(
        embeddings_VD=model.backbone.embeddings.weight,
        layers=layers,
        norm_D=model.backbone.norm_f.weight,
        head_VD=model.lm_head.weight,
        eps=config.layer_norm_epsilon,
    )
    try:
        step = decoder(network)
    except ValueError as error:
        raise Declined(str(error)) from error
    return DecodePlan(step=step, still_holds=_Snapshot(model).holds)


def _check_module(name: str, module: nn.Module) -> None:
    """Decline for a module that computes something else than its class says, or another class."""
    if type(module) not in MODULES or "forward" in vars(module):
        raise Declined(f"{name} is a {type(module).__name__} that is not the family's own")
    if module._forward_pre_hooks or module._forward_hooks:
        raise Declined(f"{name} has hooks")
    if isinstance(module, Linear) and module.bias is not None:
        raise Declined(f"{name} has a bias")
    if isinstance(module, Router) and module.counts_N is not None:
        raise Declined("the tokens of each expert are being counted")
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None and type(tensor) not in (Tensor, nn.Parameter):
            raise Declined(f"{name} holds a {type(tensor).__name__}")


def _layer(config: HybridConfig, block: nn.Module) -> Layer:
    assert isinstance(block, Block)
    norm_D, mixer = None if isinstance(block.norm, nn.Identity) else block.norm.weight, block.mixer
    if isinstance(mixer, Attention):
        projections = (getattr(mixer, f"{name}_proj").weight for name in "qkvo")
        norms = (mixer._modules.get(f"{name}_norm") for name in "qkv")
        weights = (None if norm is None else norm.weight for norm in norms)
        return AttentionLayer(norm_D, *projections, *weights, head_dim=mixer.head_dim)
    assert norm_D is not None
    if isinstance(mixer, Mamba2Mixer):
        assert mixer.conv1d.bias is not None
        weights = Weights(
            mixer.conv1d.weight.detach().squeeze(1),
            mixer.conv1d.bias,
            mixer.dt_bias,
            mixer.A_log,
            mixer.D,
            mixer.norm.weight,
        )
        settings = Settings(config.n_groups, config.ssm_state_size, config.layer_norm_epsilon, config.chunk_size)
        return Mamba2Layer(norm_D, mixer.in_proj.weight, weights, settings, mixer.out_proj.weight)
    if isinstance(mixer, FeedForward):
        return FeedForwardLayer(norm_D, mixer.up_proj.weight, mixer.down_proj.weight)
    gate, experts, shared = mixer.gate, mixer.experts, mixer.shared_experts
    routing = Routing(
        chosen=config.num_experts_per_tok,
        groups=config.n_group,
        open_groups=config.topk_group,
        normalised=config.norm_topk_prob,
        scale=config.routed_scaling_factor,
    )
    return ExpertsLayer(
        norm_D,
        gate.weight,
        gate.e_score_correction_bias,
        experts.up_proj,
        experts.down_proj,
        shared.up_proj.weight,
        shared.down_proj.weight,
        mixer.fc1_latent_proj.weight if mixer.latent else None,
        mixer.fc2_latent_proj.weight if mixer.latent else None,
        routing,
    )
