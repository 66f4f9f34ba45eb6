"""Data parallelism: the processes that `torchrun` started, or one.

Every process holds the whole model, reads its own sequences of each batch, and averages gradients with the others
(DistributedDataParallel). Process 0 alone writes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class World:
    """Which process this is."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world(device: str) -> Iterator[World]:
    """The processes of this run, from the environment that `torchrun` sets (WORLD_SIZE, RANK, LOCAL_RANK, ...).

    gloo on CPU, nccl on CUDA, where each process takes the GPU of its local rank.
    """
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
        yield World(rank=dist.get_rank(), size=size, device=chosen)
    finally:
        dist.destroy_process_group()
