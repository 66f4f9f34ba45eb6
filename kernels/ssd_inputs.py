"""What a compiled SSD scan takes, in C++ as in Triton. Shape suffixes as in kernels.ssd."""

from typing import NamedTuple

from torch import Tensor


class ScanInputs(NamedTuple):
    """Each tensor (batch, length, ...) dense behind its second axis, the others contiguous."""

    x_BLHP: Tensor
    dt_BLH: Tensor
    A_H: Tensor
    B_BLGN: Tensor
    C_BLGN: Tensor
    D_H: Tensor | None
    initial_state_BHPN: Tensor | None
    seq_idx_BL: Tensor | None
