"""Sharded data parallelism (FSDP2): every process keeps its rows of each weight, gradient and moment, and nothing whole
but the layer at work.

Each residual layer is a unit of its own, gathered in front of its forward and backward pass; what is left (embeddings,
output projection, last norm, multi-token prediction) is gathered once a step. Weights travel in float32 in every
precision: matrix products take theirs from autocast, as they do in one process, so that A_log, D, dt_bias and the norms
stay float32 and losses are the same. The routers' biases are buffers, which every process holds whole.
"""

from typing import Any

import torch
from torch import Tensor, nn

from model.hybrid import HybridLM
from ops.train.distributed import World
from ops.train.objective import Objective


def shard(objective: Objective, world: World) -> None:
    """Shard a loss and its network in place. Besides its forward pass, `measured` gathers what it needs."""
    _shard(objective.model, objective, world, "measured")


def shard_teacher(teacher: HybridLM, world: World) -> None:
    """Shard a network that only reads. `hidden_states` gathers what it needs, and leaves the output layer whole."""
    _shard(teacher, teacher, world, "hidden_states")


def _shard(model: HybridLM, root: nn.Module, world: World, method: str) -> None:
    # Imported where it is needed: it brings torch._dynamo with it, which takes seconds.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(world.device.type, (world.size,))
    for layer in model.backbone.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(root, mesh=mesh)
    register_fsdp_forward_method(root, method)


def reshard(module: nn.Module) -> None:
    """Let go of what `measured` has gathered, so that parameters are shares again."""
    release: Any = getattr(module, "reshard", None)
    if release is not None:
        release()


def local(tensor: Tensor) -> Tensor:
    """The rows of a tensor that this process has: all of a tensor that is not sharded. Shares its memory."""
    share: Any = getattr(tensor, "to_local", None)
    return tensor if share is None else share()


@torch.no_grad()
def gathered(model: HybridLM, world: World) -> HybridLM | None:
    """The whole network as its configuration says, without what an objective added to it: one with the same weights
    where `model` is not sharded, else one on the CPU of the process that writes, and None in the others. All processes
    must call it where the network is sharded."""
    with torch.device("meta"):
        found = HybridLM(model.config)
    wanted = {name for name, _ in (*found.named_parameters(), *found.named_buffers())}
    tensors: dict[str, Tensor] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name not in wanted:
            continue
        gather: Any = getattr(tensor, "full_tensor", None)
        whole = (tensor if gather is None else gather()).detach()
        if world.writes:
            tensors[name] = whole.to("cpu", copy=True) if world.sharded else whole
    if not world.writes:
        return None
    if model.config.tie_word_embeddings:
        tensors["lm_head.weight"] = tensors["backbone.embeddings.weight"]
    found.load_state_dict(tensors, strict=True, assign=True)
    found.tie_weights()
    return found
