"""The importance artefact as pruning reads it: which channels, heads and layers to keep.

`importance.safetensors` (float64): `layers.{i}.{statistic}` as in ops.importance.activations, `d_model` (their sum
over layers), and per layer `depth.block_influence`, `depth.lm_loss` (nats per token more without the layer),
`depth.logit_mse` (one shot), `depth.removal_rank` (0: removed first by iterative logit error), `depth.removal_error`.

Shape suffixes: H heads, P head dim.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.config import HybridConfig
from model.slicing import LAYER_AXES, WidthScores
from ops.errors import InputError

TENSORS = "importance.safetensors"
SUMMARY = "importance.json"

MambaHeadScore = Literal["contribution", "x_score"]
LayerScore = Literal["iterative_mse", "logit_mse", "lm_loss", "block_influence"]
LAYER_TENSORS: dict[str, str] = {
    "iterative_mse": "depth.removal_rank",
    "logit_mse": "depth.logit_mse",
    "lm_loss": "depth.lm_loss",
    "block_influence": "depth.block_influence",
}


@dataclass(frozen=True)
class Importance:
    """Scores of one teacher."""

    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, directory: Path, config: HybridConfig) -> "Importance":
        """Read the artefact of the teacher with this configuration.

        Raises:
            InputError: when the file is absent or damaged, or its scores are of a network of another shape.
        """
        path = directory / TENSORS
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: not a readable importance file: {error}") from error
        importance = cls(tensors)
        for name, shape in expected_shapes(config).items():
            found = tuple(tensors[name].shape) if name in tensors else None
            if found != shape:
                raise InputError(f"{path}: {name} has shape {found}, this teacher needs {shape}")
        return importance

    def width_scores(
        self,
        config: HybridConfig,
        *,
        mamba_head_score: MambaHeadScore = "contribution",
        mamba_head_dim: int | None = None,
    ) -> WidthScores:
        """Score vectors for `model.slicing.sort_maps`.

        `contribution` ranks Mamba heads by E||W_out[:, h] y_h|| and their shared channels by the root of the sum over
        heads of (E|y_hp| ||W_out[:, hp]||)^2. `x_score` is the rule of Minitron-SSM (arXiv 2504.11409, section 2.2):
        channels by the norm of their x scores over heads, then heads by the norm over the `mamba_head_dim` best
        channels (None: all).
        """
        layers = []
        for index, letter in enumerate(config.pattern):
            prefix = f"layers.{index}"
            if letter != "M":
                layers.append({axis: self.tensors[f"{prefix}.{axis}"] for axis in LAYER_AXES[letter]})
                continue
            if mamba_head_score == "contribution":
                channels_P = self.tensors[f"{prefix}.mamba_channel_contribution"].norm(dim=0)
                heads_H = self.tensors[f"{prefix}.mamba_contribution"]
            else:
                scores_HP = self.tensors[f"{prefix}.mamba_x"]
                channels_P = scores_HP.norm(dim=0)
                best = channels_P.sort(descending=True, stable=True).indices[:mamba_head_dim]
                heads_H = scores_HP[:, best].norm(dim=1)
            layers.append({"mamba_num_heads": heads_H, "mamba_head_dim": channels_P})
        return WidthScores(d_model=self.tensors["d_model"], layers=layers)

    def removal_order(self, score: LayerScore = "iterative_mse") -> list[int]:
        """All layers, the one to be removed first in front."""
        return torch.sort(self.tensors[LAYER_TENSORS[score]], stable=True).indices.tolist()


def expected_shapes(config: HybridConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor that `importance.safetensors` of such a network holds."""
    heads, channels = config.mamba_num_heads, config.mamba_head_dim
    by_letter: dict[str, dict[str, tuple[int, ...]]] = {
        "M": {
            "mamba_x": (heads, channels),
            "mamba_contribution": (heads,),
            "mamba_channel_contribution": (heads, channels),
        },
        "-": {"intermediate_size": (config.intermediate_size,)},
        "*": {"num_attention_heads": (config.num_attention_heads,)},
    }
    shapes: dict[str, tuple[int, ...]] = {"d_model": (config.d_model,)}
    for index, letter in enumerate(config.pattern):
        for name, shape in {"d_model": (config.d_model,), **by_letter[letter]}.items():
            shapes[f"layers.{index}.{name}"] = shape
    for name in ("block_influence", "lm_loss", "logit_mse", "removal_rank", "removal_error"):
        shapes[f"depth.{name}"] = (config.num_layers,)
    return shapes
