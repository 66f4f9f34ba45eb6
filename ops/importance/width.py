"""The width pass: segments of batches, each summed by one process and kept as a file, then added up in order.

So a killed pass goes on from its last segment, several processes share one pass, and the sums have the same bits
however often it was killed and whoever made which segment.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from model.hybrid import HybridLM
from ops.atomic import write_bytes
from ops.data import TokenData
from ops.importance.activations import scoring
from ops.importance.calibration import calibration, to_device
from ops.importance.config import ImportanceConfig
from ops.importance.depth import CalibrationBatch
from ops.importance.statistics import Statistics
from ops.progress import track
from ops.train.distributed import World

SEGMENT = 4
"""Batches of a segment: what a kill costs at most."""

SEGMENTS = ".width-*.safetensors"


@torch.no_grad()
def collect(model: HybridLM, statistics: Statistics, batches: Iterable[CalibrationBatch]) -> Iterator[None]:
    """One forward pass of `model` per batch, multi-token prediction included, added to `statistics`; yields after
    each."""
    with scoring(model, statistics) as announce:
        for batch in batches:
            announce(batch.seq_idx_BL, batch.valid_BL)
            hidden_BLD = model.hidden_states(batch.input_ids_BL, seq_idx_BL=batch.seq_idx_BL)
            depths = model.config.num_nextn_predict_layers
            if depths:
                model.mtp_hidden_states(hidden_BLD, batch.input_ids_BL, depths=depths, seq_idx_BL=batch.seq_idx_BL)
            yield


def width_statistics(config: ImportanceConfig, model: HybridLM, data: TokenData, out: Path, world: World) -> Statistics:
    """Sums over the whole calibration set; every process of `world` gets them."""
    batches = math.ceil(config.num_samples / config.batch_size)
    segments = {
        out / SEGMENTS.replace("*", f"{start:06d}"): range(start, min(start + SEGMENT, batches))
        for start in range(0, batches, SEGMENT)
    }
    missing = [path for path in segments if not path.exists()]
    world.barrier()
    own = missing[world.rank :: world.size]
    total = sum(len(segments[path]) for path in own)
    progress = track(
        _passes(config, model, data, {path: segments[path] for path in own}),
        description="importance",
        total=total,
        unit="batch",
    )
    for _ in progress:
        pass
    world.barrier()
    statistics = Statistics()
    for path in segments:
        statistics.merge(Statistics(load_file(path)))
    return statistics


def _passes(config: ImportanceConfig, model: HybridLM, data: TokenData, segments: dict[Path, range]) -> Iterator[None]:
    for path, steps in segments.items():
        statistics = Statistics()
        batches = (to_device(batch, model) for batch in calibration(config, data, config.num_samples, steps))
        yield from collect(model, statistics, batches)
        write_bytes(path, save({name: value.contiguous() for name, value in sorted(statistics.sums.items())}))
