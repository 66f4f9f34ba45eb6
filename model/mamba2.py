"""The Mamba-2 mixer (arXiv 2405.21060, section 7.1) in the parameter layout of Nemotron-H.

Shape suffixes: B batch, L length, D model width.
"""

import torch
from torch import Tensor, nn

from kernels.mamba2 import Settings, States, Weights, mamba2_mix
from model.cache import MambaState
from model.config import HybridConfig
from model.linear import Linear


class GatedRMSNorm(nn.Module):
    """The weight of the norm of x * silu(gate) under its published name, the `d_inner / n_groups` channels that are
    normed together, and epsilon; the computation is kernels.mamba2."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_inner))
        self.group_size = config.d_inner // config.n_groups
        self.eps = config.layer_norm_epsilon


class Mamba2Mixer(nn.Module):
    """in_proj -> [z | x | B | C | dt]; convolution and SiLU on x, B, C; SSD scan; gated norm; out_proj.

    What lies between the projections is one operation, kernels.mamba2; the modules here hold its parameters. A_log, D
    and dt_bias stay in float32 in every precision: the state is sensitive to them.
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.in_proj = Linear(config.d_model, config.in_proj_dim)
        self.conv1d = nn.Conv1d(config.conv_dim, config.conv_dim, config.conv_kernel, groups=config.conv_dim, bias=True)
        self.dt_bias = nn.Parameter(torch.zeros(config.mamba_num_heads))
        self.A_log = nn.Parameter(torch.zeros(config.mamba_num_heads))
        self.D = nn.Parameter(torch.ones(config.mamba_num_heads))
        self.norm = GatedRMSNorm(config)
        self.out_proj = Linear(config.d_inner, config.d_model)

    def forward(self, x_BLD: Tensor, *, seq_idx_BL: Tensor | None = None, state: MambaState | None = None) -> Tensor:
        assert self.conv1d.bias is not None
        weights = Weights(
            self.conv1d.weight.squeeze(1), self.conv1d.bias, self.dt_bias, self.A_log, self.D, self.norm.weight
        )
        y_BLI, conv_BSC, ssm_BHPN = mamba2_mix(
            self.in_proj(x_BLD),
            weights,
            Settings(self.config.n_groups, self.config.ssm_state_size, self.norm.eps, self.config.chunk_size),
            states=None if state is None else States(state.conv_BSC, state.ssm_BHPN),
            seq_idx_BL=seq_idx_BL,
        )
        if state is not None:
            state.conv_BSC, state.ssm_BHPN = conv_BSC, ssm_BHPN
        return self.out_proj(y_BLI)
