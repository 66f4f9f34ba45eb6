"""What a Mamba-2 mixer takes beside its input. Shape suffixes as in kernels.mamba2."""

from typing import NamedTuple

from torch import Tensor


class Weights(NamedTuple):
    """The parameters of a mixer, its projections aside."""

    conv_weight_CK: Tensor
    conv_bias_C: Tensor
    dt_bias_H: Tensor
    A_log_H: Tensor
    D_H: Tensor
    norm_weight_I: Tensor


class Settings(NamedTuple):
    """The numbers of a mixer that its parameters do not tell."""

    groups: int
    state_size: int
    eps: float
    chunk_size: int


class States(NamedTuple):
    """What precedes the sequence: inputs of the convolution (zeros if None) and the state of the scan (as well)."""

    conv_BSC: Tensor | None
    ssm_BHPN: Tensor | None
