"""Sort a teacher, hold it against the teacher on held-out tokens.

Shape suffixes: B rows, L positions, T tokens, D model width, V vocabulary.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from model.config import HybridConfig
from model.hf_config import read_config
from model.hybrid import HybridLM
from model.slicing import IndexMaps, differing, slice_checkpoint, sort_maps
from ops.atomic import sweep
from ops.data import Batch, TokenData
from ops.errors import InputError
from ops.identity import encode
from ops.importance.scores import Importance
from ops.sort_teacher.config import SortConfig
from ops.sort_teacher.maps_file import shape, write_maps
from ops.stage import Check, Execution, Inputs, StageResult, many, one
from ops.train.loop import deterministic
from ops.train.result import clear_model_errors, load_model
from ops.train.vocabulary import tokenizer_files

TOLERANCE = 1e-5
"""Of logits, relative, in float32: sums in another order (measured: 4e-7 on the demo's teacher)."""


def run(config: SortConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write input `teacher`, sorted by input `importance`, as a checkpoint with `index_maps.json` (see
    ops.sort_teacher.maps_file). Weights keep their types and go from file to file in blocks.

    Raises:
        InputError: for an importance of another network, or without held-out tokens.
    """
    source, tokenizer = one(inputs, "teacher"), one(inputs, "tokenizer")
    with clear_model_errors():
        parent = read_config(source)
    maps = order(parent, config, Importance.read(one(inputs, "importance"), parent))
    data = TokenData.open(one(inputs, "training_set"), many(inputs, "tokens"))
    tokens = config.check_sequences * config.check_seq_len
    held_out = list(data.validation_batches(batch_size=1, seq_len=config.check_seq_len, max_tokens=tokens))
    if not held_out:
        raise InputError("training_set: has no held-out tokens to hold the sorted teacher against the teacher on")
    sweep(out)
    with clear_model_errors():
        slice_checkpoint(source, out, maps, tokenizer_files=tokenizer_files(tokenizer))
        wrong = differing(source, out, maps)
    write_maps(out, source, parent, parent, maps, sort=sort_key(config))
    with deterministic(threads=execution.threads, device=execution.device):
        check = _same_function(source, out, held_out, torch.device(execution.device))
    return StageResult(
        counts={"parameters": parent.num_params(), "layers": parent.num_layers},
        checks=[
            check,
            Check(
                name="reads_back",
                passed=not wrong,
                description="the checkpoint has exactly the tensors of its configuration, permuted as the maps say",
                metadata={"different": wrong},
            ),
        ],
        tokens=2 * sum(batch.input_ids.size for batch in held_out),
        summary={"teacher": shape(parent), "sort": sort_key(config), "moved": _moved(maps)},
    )


def order(parent: HybridConfig, config: SortConfig, importance: Importance) -> IndexMaps:
    """The permutation of a teacher by its scores."""
    scores = importance.width_scores(
        parent,
        mamba_head_score=config.mamba_head_score,
        mamba_head_dim=config.mamba_head_dim,
        expert_score=config.expert_score,
    )
    return sort_maps(parent, scores)


def sort_key(config: SortConfig) -> dict[str, object]:
    """The part of the config that decides the order."""
    data = encode(config)
    return {name: data[name] for name in ("mamba_head_score", "mamba_head_dim", "expert_score")}


def _moved(maps: IndexMaps) -> float:
    """Share of channels, heads and experts that are not in their old place."""
    orders = [maps.d_model, *(kept for layer in (*maps.layers, *maps.mtp) for kept in layer.axes.values())]
    moved = sum(index != place for kept in orders for place, index in enumerate(kept))
    return moved / sum(map(len, orders))


@torch.no_grad()
def _same_function(teacher: Path, out: Path, batches: Sequence[Batch], device: torch.device) -> Check:
    """One network at a time is in memory, the other's hidden states beside it."""
    model = load_model(teacher, device)
    hidden, projection_VD = _hidden(model, batches), model.lm_head.weight.detach()
    del model
    model = load_model(out, device)
    worst, above, below = 0.0, 0.0, 0.0
    for before_TD, after_TD in zip(hidden, _hidden(model, batches), strict=True):
        expected_TV, found_TV = before_TD @ projection_VD.T, after_TD @ model.lm_head.weight.T
        difference_TV = (found_TV - expected_TV).double()
        above += float(difference_TV.square().sum())
        below += float(expected_TV.double().square().sum())
        worst = max(worst, float(difference_TV.abs().max() / expected_TV.abs().max()))
    error = math.sqrt(above / below)
    return Check(
        name="same_function",
        passed=error < TOLERANCE,
        description=f"on held-out tokens its logits are the teacher's, within {TOLERANCE:g} (relative, L2)",
        metadata={"relative_error": error, "largest_relative_error": worst, "tokens": sum(map(len, hidden))},
    )


def _hidden(model: HybridLM, batches: Sequence[Batch]) -> list[Tensor]:
    device = model.lm_head.weight.device
    found = []
    for batch in batches:
        input_ids_BL, seq_idx_BL = (torch.from_numpy(a).to(device) for a in (batch.input_ids, batch.seq_idx))
        found.append(model.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL).flatten(0, 1))
    return found
