"""The linear model: ridge regression onto scores, solved exactly, and read back."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ops.atomic import write_bytes
from ops.errors import InputError
from ops.quality.config import HIGHEST_SCORE
from ops.quality.features import Sparse, vectors

WEIGHTS = "weights.safetensors"
REPORT = "quality.json"
_TOLERANCE = 1e-8
_MOST_STEPS = 500


@dataclass(frozen=True, kw_only=True)
class QualityModel:
    """Scores of texts from 0 to 5."""

    weights: np.ndarray
    bias: float
    max_chars: int

    def score(self, texts: list[str]) -> list[float]:
        """The score of each text."""
        found = vectors(texts, len(self.weights), self.max_chars).times(self.weights) + self.bias
        return np.clip(found, 0.0, HIGHEST_SCORE).tolist()


def fit(matrix: Sparse, scores: np.ndarray, num_features: int, l2: float) -> tuple[np.ndarray, float]:
    """Weights and bias that minimise the squared error plus `l2` times the squared weights, by conjugate gradients."""
    bias = float(scores.mean())

    def apply(weights: np.ndarray) -> np.ndarray:
        return matrix.transposed_times(matrix.times(weights), num_features) + l2 * weights

    weights = np.zeros(num_features)
    residual = matrix.transposed_times(scores - bias, num_features)
    direction = residual.copy()
    size = start = float(residual @ residual)
    for _ in range(_MOST_STEPS):
        if size <= _TOLERANCE**2 * start:
            break
        moved = apply(direction)
        step = size / float(direction @ moved)
        weights += step * direction
        residual -= step * moved
        before, size = size, float(residual @ residual)
        direction = residual + size / before * direction
    return weights, bias


def write_model(directory: Path, weights: np.ndarray, bias: float, max_chars: int) -> None:
    # One entry: safetensors writes several in a random order.
    metadata = {"model": json.dumps({"bias": bias, "max_chars": max_chars})}
    write_bytes(directory / WEIGHTS, save({"weights": weights.astype(np.float32)}, metadata=metadata))


def load_model(directory: Path) -> QualityModel:
    """Read an artefact of `ops.quality`.

    Raises:
        InputError: when it is none.
    """
    path = directory / WEIGHTS
    try:
        header = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{directory}: holds no {WEIGHTS}, so it is not a quality model") from None
    with header as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            known = json.loads(json.loads(stream.read(min(length, 1 << 20)))["__metadata__"]["model"])
            weights = load_file(path)["weights"].astype(np.float64)
            return QualityModel(weights=weights, bias=float(known["bias"]), max_chars=int(known["max_chars"]))
        except (SafetensorError, ValueError, KeyError) as error:
            raise InputError(f"{path}: not a quality model: {error!r}") from error
