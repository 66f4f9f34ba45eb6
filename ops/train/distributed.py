"""Data parallelism: the processes that `torchrun` started, or one.

Every process reads its own sequences of each batch and averages gradients with the others. It holds the whole model
(DistributedDataParallel), or its share of it (see ops.train.sharding). Process 0 writes, and the others their shares of
a state.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

import torch
import torch.distributed as dist
from torch import Tensor

from ops.errors import InputError
from ops.stage import Parallel

TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class World:
    """Which process this is."""

    device: torch.device
    rank: int = 0
    size: int = 1
    sharded: bool = False
    """Whether each process holds its rows of the weights alone."""

    @property
    def shards(self) -> int:
        """Parts that the weights lie in."""
        return self.size if self.sharded else 1

    @property
    def loading(self) -> torch.device:
        """Where a whole network is made: on the device, or beside it when it is to be sharded."""
        return torch.device("cpu") if self.sharded else self.device

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def together(self, names: list[str]) -> list[str]:
        """The names of all processes, each once, in order of the processes."""
        if self.size == 1:
            return names
        found: list[list[str]] = [[] for _ in range(self.size)]
        dist.all_gather_object(found, names)
        return list(dict.fromkeys(name for part in found for name in part))

    def decided(self, choice: bool) -> bool:
        """What process 0 chose."""
        if self.size == 1:
            return choice
        chosen = torch.tensor(int(choice), device=self.device)
        dist.broadcast(chosen, src=0)
        return bool(chosen)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


ALONE = World(device=torch.device("cpu"))


@contextmanager
def world(device: str, *, parallel: Parallel = "ddp") -> Iterator[World]:
    """The processes of this run, from the environment that `torchrun` sets (WORLD_SIZE, RANK, LOCAL_RANK, ...).

    gloo on CPU, nccl on CUDA, where each process takes the GPU of its local rank. One process shards nothing.

    Raises:
        InputError: for an unknown kind of parallelism.
    """
    if parallel not in get_args(Parallel):
        raise InputError(f"parallel: {parallel!r} is not one of {list(get_args(Parallel))}")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device=torch.device(device))
        return
    cuda = torch.device(device).type == "cuda"
    chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device(device)
    if cuda:
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT)
    try:
        yield World(rank=dist.get_rank(), size=size, device=chosen, sharded=parallel == "fsdp")
    finally:
        dist.destroy_process_group()
