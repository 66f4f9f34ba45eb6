"""Tensors whose rows lie with several processes, to files and back through torch's Distributed Checkpoint (DCP).

DCP says who writes which rows, and which rows of which files a process needs when there are more or fewer of them than
have written. Its own storage keeps metadata as a pickle, which runs what a file says. The one for safetensors, which is
used here, has none: each file says in its header, as JSON, where its rows begin. It takes the files that it finds for
all there are and converts what has another type, so whoever reads must know that these are the files that were written.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from ops.train.distributed import World


def write_shares(folder: Path, groups: Sequence[Mapping[str, Tensor]]) -> None:
    """Write tensors to files of `folder`, synced: every process its rows of each group to a file of its own, and one of
    them what all hold whole. Returns when all have written; an error of one is an error of all. A process holds two
    copies of its rows of one group at a time."""
    file_of = {name: number for number, group in enumerate(groups, 1) for name in group}
    writer = HuggingFaceStorageWriter(str(folder), file_of, save_distributed=True)
    with _error_itself():
        save({name: tensor for group in groups for name, tensor in group.items()}, storage_writer=writer)


def read_shares(folder: Path, tensors: Mapping[str, Tensor], world: World) -> None:
    """Fill tensors, each process its rows, from the files that any number of processes wrote. All processes must call
    it where `tensors` are sharded, and an error of one is an error of all.

    Raises:
        RuntimeError: for a tensor that is in no file.
        ValueError: for one of another shape.
    """
    with _error_itself(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process is meant
        reader = HuggingFaceStorageReader(str(folder))
        load(dict(tensors), storage_reader=reader, no_dist=not world.sharded)


@contextmanager
def _error_itself() -> Iterator[None]:
    """DCP's error is that of all processes, and no Exception: it becomes the first of theirs."""
    try:
        yield
    except CheckpointException as error:
        first, _ = next(iter(error.failures.values()))
        raise first from error
