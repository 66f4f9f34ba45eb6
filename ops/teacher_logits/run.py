"""Keep what the teacher gives its most likely tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from kernels.distill_loss import linear_most_likely
from model.hybrid import HybridLM
from ops.atomic import atomic_path, read_json, sweep, write_json
from ops.data import TokenData
from ops.data.token_data import MANIFEST
from ops.errors import InputError
from ops.identity import encode as encode_config
from ops.progress import track
from ops.stage import Check, Execution, Inputs, StageResult, many, one
from ops.teacher_logits.config import TeacherLogitsConfig
from ops.teacher_logits.format import encode, record_type
from ops.teacher_logits.read import SOURCE, TeacherLogits, num_shards, rows_of, shard_name
from ops.train.distributed import World, world
from ops.train.loop import deterministic
from ops.train.objective import loss_precision
from ops.train.result import checkpoint_files, digests, load_model
from ops.train.vocabulary import check_same_size


def run(config: TeacherLogitsConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `source.json` and `logits-XXXXX.bin` (see ops.teacher_logits.format).

    Under `torchrun` the processes share the files; a file that is there is not made again.

    Raises:
        InputError: when inputs do not fit each other, or `out` holds files of another teacher, data or config.
    """
    training_set, teacher_path = one(inputs, "training_set"), one(inputs, "teacher")
    files = {"training_set": training_set / MANIFEST, **checkpoint_files("teacher", teacher_path)}
    data = TokenData.open(training_set, many(inputs, "tokens"))
    with deterministic(threads=execution.threads, device=execution.device), world(execution.device) as here:
        teacher = load_model(teacher_path, here.device).eval().requires_grad_(False)
        check_same_size(teacher=teacher.config.vocab_size, training_set=data.vocab_size)
        if config.top_k > data.vocab_size:
            raise InputError(f"TeacherLogitsConfig.top_k: {config.top_k} of a vocabulary of {data.vocab_size}")
        source = {
            "config": encode_config(config),
            "inputs": digests(files),
            "vocab_size": data.vocab_size,
        }
        if here.writes:
            _claim(out, source)
        here.barrier()
        mine = range(here.rank, num_shards(config), here.size)
        for number in track(mine, description="teacher logits", unit="file") if here.writes else mine:
            _write_shard(config, teacher, data, out / shard_name(number), number, here)
        here.barrier()
        kept = TeacherLogits.open(out)
        return _result(config, teacher, kept)


def _claim(out: Path, source: dict[str, Any]) -> None:
    """Say what the files will be, before the first of them."""
    if (out / SOURCE).exists() and read_json(out / SOURCE) != source:
        raise InputError(f"{out}: holds logits of another teacher, data or config; use another output directory")
    sweep(out)
    write_json(out / SOURCE, source)


@torch.no_grad()
def _write_shard(
    config: TeacherLogitsConfig, teacher: HybridLM, data: TokenData, path: Path, number: int, here: World
) -> None:
    if path.exists():
        return
    kind = record_type(top_k=config.top_k, vocab_size=data.vocab_size, log_prob_bits=config.log_prob_bits)
    first, rows = number * config.shard_sequences, rows_of(config, number)
    half = torch.autocast(here.device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16")
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        for start in range(first, first + rows, config.batch_size):
            samples = range(start, min(start + config.batch_size, first + rows))
            batch = data.samples(
                samples, phase=config.phase, seq_len=config.seq_len, seed=config.seed, packing=config.packing
            )
            ids_BL, seq_idx_BL = (torch.from_numpy(a).to(here.device) for a in (batch.input_ids, batch.seq_idx))
            with half:
                hidden_TD = teacher.hidden_states(ids_BL, seq_idx_BL=seq_idx_BL).flatten(0, 1)
                with loss_precision():
                    cap = teacher.config.final_logit_softcapping
                    top = linear_most_likely(hidden_TD, teacher.lm_head.weight, config.top_k, cap=cap)
            arrays = (value.cpu().numpy() for value in (top.ids_TK, top.log_probs_TK, top.log_tail_T))
            stream.write(encode(kind, *arrays).tobytes())


def _result(config: TeacherLogitsConfig, teacher: HybridLM, kept: TeacherLogits) -> StageResult:
    tokens = config.num_sequences * config.seq_len
    mass = 1 - np.exp(kept.log_tails().astype(np.float64))
    finite = bool(np.isfinite(mass).all())
    return StageResult(
        counts={"sequences": config.num_sequences, "tokens": tokens, "bytes_per_token": kept.record.itemsize},
        checks=[Check(name="finite", passed=finite, description="every kept probability is a finite number")],
        tokens=tokens,
        flops=float(tokens * teacher.config.flops_per_token(config.seq_len)),
        summary={
            "mass_kept": {
                "mean": float(mass.mean()),
                "median": float(np.median(mass)),
                "lowest_percentile": float(np.quantile(mass, 0.01)),
            }
        },
    )
