"""What decoding keeps between tokens: SSM and convolution states, keys and values.

Shape suffixes: B batch, H Mamba heads, P head dim, N state size, S = conv_kernel - 1, C conv channels,
K key-value heads, T positions kept, D attention head dim.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import HybridConfig


@dataclass
class MambaState:
    """State of one Mamba-2 layer; constant in size."""

    conv_BSC: Tensor
    ssm_BHPN: Tensor


@dataclass
class AttentionState:
    """Keys and values of one attention layer, in buffers that double when they are full."""

    k_BKTD: Tensor
    v_BKTD: Tensor
    length: int = 0

    def append(self, k_BKLD: Tensor, v_BKLD: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values of new positions; returns those of all positions so far."""
        end = self.length + k_BKLD.shape[2]
        capacity = self.k_BKTD.shape[2]
        if end > capacity:
            extra = max(end, 2 * capacity) - capacity
            self.k_BKTD = torch.nn.functional.pad(self.k_BKTD, (0, 0, 0, extra))
            self.v_BKTD = torch.nn.functional.pad(self.v_BKTD, (0, 0, 0, extra))
        self.k_BKTD[:, :, self.length : end] = k_BKLD
        self.v_BKTD[:, :, self.length : end] = v_BKLD
        self.length = end
        return self.k_BKTD[:, :, :end], self.v_BKTD[:, :, :end]


@dataclass
class DecodeCache:
    """One state per layer (None for feed-forward layers) for `batch` sequences of equal length."""

    layers: list[MambaState | AttentionState | None]
    length: int = 0

    @classmethod
    def empty(
        cls,
        config: HybridConfig,
        batch: int,
        *,
        max_length: int = 256,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "DecodeCache":
        """A cache before the first token, with room for `max_length` positions (it grows when that is exceeded).

        Keys, values and convolution inputs have `dtype`; SSM states are kept in at least float32.
        """
        state_dtype = torch.promote_types(dtype, torch.float32)
        layers: list[MambaState | AttentionState | None] = []
        for letter in config.pattern:
            if letter == "M":
                conv = (batch, config.conv_kernel - 1, config.conv_dim)
                ssm = (batch, config.mamba_num_heads, config.mamba_head_dim, config.ssm_state_size)
                layers.append(
                    MambaState(
                        torch.zeros(conv, dtype=dtype, device=device),
                        torch.zeros(ssm, dtype=state_dtype, device=device),
                    )
                )
            elif letter == "*":
                shape = (batch, config.num_key_value_heads, max_length, config.head_dim)
                keys, values = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
                layers.append(AttentionState(keys, values))
            else:
                layers.append(None)
        return cls(layers)
