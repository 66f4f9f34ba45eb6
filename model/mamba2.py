"""The Mamba-2 mixer (arXiv 2405.21060, section 7.1) in the parameter layout of Nemotron-H.

Shape suffixes: B batch, L length, D model width, H heads, P head dim, G groups, N state size, C conv channels,
I = H * P inner width, K conv width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from kernels.conv1d import causal_conv1d
from kernels.rmsnorm import gated_rms_norm
from kernels.ssd import ssd, ssd_step
from model.cache import MambaState
from model.config import HybridConfig


class GatedRMSNorm(nn.Module):
    """RMS norm of x * silu(gate) per group of `d_inner / n_groups` channels."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_inner))
        self.group_size = config.d_inner // config.n_groups
        self.eps = config.layer_norm_epsilon

    def forward(self, x_BLI: Tensor, gate_BLI: Tensor) -> Tensor:
        return gated_rms_norm(x_BLI, gate_BLI, self.weight, group_size=self.group_size, eps=self.eps)


class Mamba2Mixer(nn.Module):
    """in_proj -> [z | x | B | C | dt]; convolution and SiLU on x, B, C; SSD scan; gated norm; out_proj.

    A_log, D and dt_bias stay in float32 in every precision: the state is sensitive to them.
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.in_proj = nn.Linear(config.d_model, config.in_proj_dim, bias=False)
        # Holds the parameters under their published names; the computation is kernels.conv1d.
        self.conv1d = nn.Conv1d(config.conv_dim, config.conv_dim, config.conv_kernel, groups=config.conv_dim, bias=True)
        self.dt_bias = nn.Parameter(torch.zeros(config.mamba_num_heads))
        self.A_log = nn.Parameter(torch.zeros(config.mamba_num_heads))
        self.D = nn.Parameter(torch.ones(config.mamba_num_heads))
        self.norm = GatedRMSNorm(config)
        self.out_proj = nn.Linear(config.d_inner, config.d_model, bias=False)

    def forward(self, x_BLD: Tensor, *, seq_idx_BL: Tensor | None = None, state: MambaState | None = None) -> Tensor:
        c = self.config
        z_BLI, xBC_BLC, dt_BLH = self.in_proj(x_BLD).split([c.d_inner, c.conv_dim, c.mamba_num_heads], dim=-1)
        assert self.conv1d.bias is not None
        xBC_BLC, conv_state = causal_conv1d(
            xBC_BLC,
            self.conv1d.weight.squeeze(1),
            self.conv1d.bias,
            initial_state_BSC=None if state is None else state.conv_BSC,
            seq_idx_BL=seq_idx_BL,
        )
        groups_dim = c.n_groups * c.ssm_state_size
        x, B, C = xBC_BLC.split([c.d_inner, groups_dim, groups_dim], dim=-1)
        x_BLHP = x.unflatten(-1, (c.mamba_num_heads, c.mamba_head_dim))
        B_BLGN = B.unflatten(-1, (c.n_groups, c.ssm_state_size))
        C_BLGN = C.unflatten(-1, (c.n_groups, c.ssm_state_size))
        dt_BLH = softplus(dt_BLH.to(self.dt_bias.dtype) + self.dt_bias)
        A_H = -self.A_log.exp()

        if state is not None and x_BLD.shape[1] == 1:
            y, ssm_state = ssd_step(
                x_BLHP[:, 0], dt_BLH[:, 0], A_H, B_BLGN[:, 0], C_BLGN[:, 0], state.ssm_BHPN, D_H=self.D
            )
            y_BLHP = y[:, None]
        else:
            y_BLHP, ssm_state = ssd(
                x_BLHP,
                dt_BLH,
                A_H,
                B_BLGN,
                C_BLGN,
                D_H=self.D,
                initial_state_BHPN=None if state is None else state.ssm_BHPN,
                seq_idx_BL=seq_idx_BL,
                chunk_size=c.chunk_size,
            )
        if state is not None:
            state.conv_BSC, state.ssm_BHPN = conv_state, ssm_state
        return self.out_proj(self.norm(y_BLHP.flatten(-2), z_BLI))
