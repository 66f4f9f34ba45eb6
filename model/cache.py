"""What decoding keeps between tokens: SSM and convolution states, keys and values.

Shape suffixes: B batch, H Mamba heads, P head dim, N state size, S = conv_kernel - 1, C conv channels,
K key-value heads, T positions kept, D attention head dim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

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
        self.reserve(end)
        self.k_BKTD[:, :, self.length : end] = k_BKLD
        self.v_BKTD[:, :, self.length : end] = v_BKLD
        self.length = end
        return self.k_BKTD[:, :, :end], self.v_BKTD[:, :, :end]

    def reserve(self, length: int) -> None:
        """Make room for so many positions."""
        capacity = self.k_BKTD.shape[2]
        if length > capacity:
            extra = max(length, 2 * capacity) - capacity
            self.k_BKTD = pad(self.k_BKTD, (0, 0, 0, extra))
            self.v_BKTD = pad(self.v_BKTD, (0, 0, 0, extra))

    @property
    def kept(self) -> tuple[Tensor, Tensor]:
        """The part of the buffers that is filled."""
        return self.k_BKTD[:, :, : self.length], self.v_BKTD[:, :, : self.length]


@dataclass
class DecodeCache:
    """One state per layer (None for feed-forward and expert layers) for `batch` sequences.

    All rows have `length` positions, of which the first `padding_B` of a row are padding; `padded` says whether any is.
    """

    layers: list[MambaState | AttentionState | None]
    padding_B: Tensor
    padded: bool = False
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
        return cls(layers, torch.zeros(batch, dtype=torch.long, device=device))

    def rows(self, index_B: Tensor) -> "DecodeCache":
        """A cache of its own with these rows, in this order; a row may be taken more than once."""
        layers: list[MambaState | AttentionState | None] = []
        for state in self.layers:
            if isinstance(state, MambaState):
                layers.append(MambaState(state.conv_BSC[index_B], state.ssm_BHPN[index_B]))
            elif isinstance(state, AttentionState):
                keys, values = state.kept
                layers.append(AttentionState(keys[index_B], values[index_B], state.length))
            else:
                layers.append(None)
        return DecodeCache(layers, self.padding_B[index_B], self.padded, self.length)

    @classmethod
    def stack(cls, caches: "Sequence[DecodeCache]") -> "DecodeCache":
        """One cache with the rows of all, whatever their lengths: the shorter ones get padding in front.

        Raises ValueError where the caches are of different networks.
        """
        length = max(cache.length for cache in caches)
        layers: list[MambaState | AttentionState | None] = []
        for states in zip(*(cache.layers for cache in caches), strict=True):
            mamba = [state for state in states if isinstance(state, MambaState)]
            attention = [state for state in states if isinstance(state, AttentionState)]
            if len(mamba) == len(states):
                conv, ssm = (torch.cat([getattr(state, name) for state in mamba]) for name in ("conv_BSC", "ssm_BHPN"))
                layers.append(MambaState(conv, ssm))
            elif len(attention) == len(states):
                keys, values = (
                    torch.cat([pad(state.kept[part], (0, 0, length - state.length, 0)) for state in attention])
                    for part in (0, 1)
                )
                layers.append(AttentionState(keys, values, length))
            elif mamba or attention:
                raise ValueError("the caches are of networks with different layers")
            else:
                layers.append(None)
        padding_B = torch.cat([cache.padding_B + (length - cache.length) for cache in caches])
        return cls(layers, padding_B, bool(padding_B.any()), length)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is kept, by name: `layers.0.ssm_BHPN`, `layers.3.k_BKTD`, `padding_B`."""
        found = {"padding_B": self.padding_B}
        for index, state in enumerate(self.layers):
            if isinstance(state, MambaState):
                found |= {f"layers.{index}.conv_BSC": state.conv_BSC, f"layers.{index}.ssm_BHPN": state.ssm_BHPN}
            elif isinstance(state, AttentionState):
                found |= dict(zip((f"layers.{index}.k_BKTD", f"layers.{index}.v_BKTD"), state.kept, strict=True))
        return found

    @classmethod
    def from_tensors(
        cls, config: HybridConfig, tensors: Mapping[str, Tensor], *, batch: int, length: int
    ) -> "DecodeCache":
        """The inverse of `tensors`.

        Raises ValueError that names the tensor that is missing, unexpected or wrongly shaped.
        """
        cache = cls.empty(config, batch, max_length=length, device="meta")
        for state in cache.layers:
            if isinstance(state, AttentionState):
                state.length = length
        expected = {name: tuple(tensor.shape) for name, tensor in cache.tensors().items()}
        for name in sorted(expected.keys() ^ tensors.keys()):
            raise ValueError(f"tensor {name} is {'missing' if name in expected else 'unexpected'}")
        for name, shape in expected.items():
            if tuple(tensors[name].shape) != shape:
                raise ValueError(f"tensor {name} has shape {tuple(tensors[name].shape)}, the network asks for {shape}")
        for index, state in enumerate(cache.layers):
            if isinstance(state, MambaState):
                cache.layers[index] = MambaState(*(tensors[f"layers.{index}.{n}"] for n in ("conv_BSC", "ssm_BHPN")))
            elif isinstance(state, AttentionState):
                keys, values = (tensors[f"layers.{index}.{name}"] for name in ("k_BKTD", "v_BKTD"))
                cache.layers[index] = AttentionState(keys, values, length)
        return cls(cache.layers, tensors["padding_B"], bool(tensors["padding_B"].any()), length)
