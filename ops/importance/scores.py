"""The importance artefact as pruning reads it: which channels, heads and layers to keep.

`importance.safetensors` (float64): `layers.{i}.{statistic}` and `mtp.{i}.{statistic}` as in
ops.importance.activations, `d_model` (the sum over `layers`), and per layer `depth.block_influence`, `depth.lm_loss`
(nats per token more without the layer), `depth.logit_mse` (one shot), `depth.removal_rank` (0: removed first by
iterative logit error), `depth.removal_error`.

Shape suffixes: H heads, P head dim, N experts.
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
from model.slicing import WidthScores, layer_axes, score_shape
from ops.errors import InputError
from ops.importance.activations import EXPERT_STATISTICS

TENSORS = "importance.safetensors"
SUMMARY = "importance.json"

MambaHeadScore = Literal["contribution", "x_score"]
ExpertScore = Literal["reap", "ean_mean", "weighted_ean_sum"]
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
        expert_score: ExpertScore = "reap",
    ) -> WidthScores:
        """Score tensors for `model.slicing.sort_maps`.

        `contribution` ranks Mamba heads by E||W_out[:, h] y_h|| and their shared channels by the root of the sum over
        heads of (E|y_hp| ||W_out[:, hp]||)^2. `x_score` is the rule of Minitron-SSM (arXiv 2504.11409, section 2.2):
        channels by the norm of their x scores over heads, then heads by the norm over the `mamba_head_dim` best
        channels (None: all).

        `reap` ranks experts by the mean of router's weight times output's norm over the tokens that they get (REAP,
        arXiv 2510.13999), `ean_mean` by the mean norm alone, `weighted_ean_sum` by the sum of REAP's products, which
        favours experts that get many tokens.
        """

        def layers(part: str, pattern: str) -> list[dict[str, Tensor]]:
            found = []
            for index, letter in enumerate(pattern):
                prefix = f"{part}.{index}"
                if letter == "M":
                    found.append(self._mamba(prefix, mamba_head_score, mamba_head_dim))
                    continue
                axes = [axis for axis in layer_axes(config, letter) if axis != "n_routed_experts"]
                found.append({axis: self.tensors[f"{prefix}.{axis}"] for axis in axes})
                if letter == "E":
                    found[-1]["n_routed_experts"] = self._experts(prefix, expert_score)
            return found

        return WidthScores(
            d_model=self.tensors["d_model"],
            layers=layers("layers", config.pattern),
            mtp=layers("mtp", config.mtp_pattern),
        )

    def _mamba(self, prefix: str, score: MambaHeadScore, head_dim: int | None) -> dict[str, Tensor]:
        if score == "contribution":
            channels_P = self.tensors[f"{prefix}.mamba_channel_contribution"].norm(dim=0)
            heads_H = self.tensors[f"{prefix}.mamba_contribution"]
        else:
            scores_HP = self.tensors[f"{prefix}.mamba_x"]
            channels_P = scores_HP.norm(dim=0)
            best = channels_P.sort(descending=True, stable=True).indices[:head_dim]
            heads_H = scores_HP[:, best].norm(dim=1)
        return {"mamba_num_heads": heads_H, "mamba_head_dim": channels_P}

    def _experts(self, prefix: str, score: ExpertScore) -> Tensor:
        """An expert without a token scores 0."""
        if score == "weighted_ean_sum":
            return self.tensors[f"{prefix}.expert_weighted_norm"]
        name = "expert_weighted_norm" if score == "reap" else "expert_norm"
        frequency_N = self.tensors[f"{prefix}.expert_frequency"]
        return torch.where(frequency_N > 0, self.tensors[f"{prefix}.{name}"] / frequency_N.clamp(min=1e-300), 0.0)

    def removal_order(self, score: LayerScore = "iterative_mse") -> list[int]:
        """All layers, the one to be removed first in front."""
        return torch.sort(self.tensors[LAYER_TENSORS[score]], stable=True).indices.tolist()


def expected_shapes(config: HybridConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor that `importance.safetensors` of such a network holds."""
    heads, channels = config.mamba_num_heads, config.mamba_head_dim
    mamba = {
        "mamba_x": (heads, channels),
        "mamba_contribution": (heads,),
        "mamba_channel_contribution": (heads, channels),
    }
    shapes: dict[str, tuple[int, ...]] = {"d_model": (config.d_model,)}
    for part, pattern in (("layers", config.pattern), ("mtp", config.mtp_pattern)):
        for index, letter in enumerate(pattern):
            own = {axis: score_shape(config, axis) for axis in layer_axes(config, letter)}
            if letter == "M":
                own = mamba
            if letter == "E":
                own |= dict.fromkeys(EXPERT_STATISTICS, own.pop("n_routed_experts"))
            for name, shape in {"d_model": (config.d_model,), **own}.items():
                shapes[f"{part}.{index}.{name}"] = shape
    for name in ("block_influence", "lm_loss", "logit_mse", "removal_rank", "removal_error"):
        shapes[f"depth.{name}"] = (config.num_layers,)
    return shapes
