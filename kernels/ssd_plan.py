"""Sizes, types and tensors that the Triton kernels of the SSD scan share; shape suffixes as in kernels.ssd_triton."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.ssd_inputs import ScanInputs
from kernels.triton_support import blocks, dot_dtype, padded, precision, triton_type, work_dtype

MOST_CHUNK, MOST_TILE = 128, 64
"""Positions of a chunk and of a tile of it. Longer chunks write fewer states, shorter ones need fewer products."""

FEW_PROGRAMS = 512
"""Below so many programs the pass over the chunks takes smaller tiles of the state."""


class Plan(NamedTuple):
    """Sizes and types that the kernels of a scan share."""

    batch: int
    length: int
    heads: int
    head_dim: int
    groups: int
    state: int
    size: int
    work: torch.dtype
    dot: torch.dtype

    @classmethod
    def of(cls, inputs: ScanInputs, chunk_size: int) -> "Plan":
        batch, length, heads, head_dim = inputs.x_BLHP.shape
        groups, state = inputs.B_BLGN.shape[2:]
        size = padded(min(chunk_size, length, MOST_CHUNK), 16)
        work = work_dtype(*inputs[:7])
        dot = dot_dtype(inputs.x_BLHP, inputs.B_BLGN, inputs.C_BLGN)
        return cls(batch, length, heads, head_dim, groups, state, size, work, dot)

    @property
    def chunks(self) -> int:
        return blocks(self.length, self.size)

    @property
    def tile(self) -> int:
        return min(self.size, MOST_TILE)

    @property
    def tiles(self) -> int:
        return self.size // self.tile

    def state_tile(self) -> tuple[int, int]:
        """Head channels and state numbers that one program of the pass over the chunks holds."""
        tile_P, tile_N = min(64, padded(self.head_dim, 16)), min(64, padded(self.state, 16))
        programs = self.batch * self.heads * blocks(self.head_dim, tile_P) * blocks(self.state, tile_N)
        return (min(32, tile_P) if programs < FEW_PROGRAMS else tile_P), tile_N

    def constants(self, packed: bool) -> dict[str, Any]:
        return {
            "HEADS": self.heads,
            "GROUPS": self.groups,
            "HEAD_DIM": self.head_dim,
            "STATE": self.state,
            "CHUNK": self.size,
            "PACKED": packed,
            "WORK": triton_type(self.work),
        }

    def products(self) -> dict[str, Any]:
        return {"DOT": triton_type(self.dot), "PRECISION": precision(), "TILE": self.tile}

    def whole(self) -> dict[str, int]:
        """All of a head and of a state in one program."""
        return {"BLOCK_P": padded(self.head_dim, 16), "BLOCK_N": padded(self.state, 16)}


class Prepared(NamedTuple):
    """What the first kernels make of the inputs."""

    dt_BHM: Tensor
    cum_BHM: Tensor
    scores_BcGQQ: Tensor
    states_BcHPN: Tensor
    final_BHPN: Tensor
