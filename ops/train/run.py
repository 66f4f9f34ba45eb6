"""Pretraining as a stage."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.hybrid import HybridLM
from ops.data import Batch, TokenData
from ops.data.token_data import MANIFEST
from ops.errors import InputError
from ops.identity import encode, fingerprint
from ops.progress import track
from ops.stage import Check, Execution, Inputs, StageResult, many, one
from ops.train.compiled import check_compiler
from ops.train.config import RunConfig, TrainConfig
from ops.train.distributed import World, world
from ops.train.loop import Run, deterministic, fit
from ops.train.objective import CrossEntropy
from ops.train.reference import Divergence, Reference
from ops.train.result import check_can_sample, digests, finish, finished, improved
from ops.train.schedule import phase2_start
from ops.train.validation import Validation
from ops.train.vocabulary import FILE, Vocabulary, check_same_size, read_vocabulary, tokenizer_files
from ops.train.watch import open_watchers


def run(config: TrainConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Train `config.model` from its initial weights; `out` becomes a `nemotron_h` checkpoint directory.

    Under `torchrun` each process calls this; process 0 writes.

    Raises:
        InputError: when inputs do not fit each other or the config.
        NonFiniteError: when training diverges.
    """
    opened = open_run("train", config, inputs)
    data, training_set = opened.data, opened.training_set
    check_same_size(model=config.model.vocab_size, tokenizer=opened.vocabulary.size, training_set=data.vocab_size)
    if config.model.eos_token_id != data.eod_id:
        raise InputError(
            f"TrainConfig.model.eos_token_id: {config.model.eos_token_id}, "
            f"but documents of the training set end with token {data.eod_id}"
        )
    switch = phase2_start(config)
    check_phases(data, training_set, {1: switch, 2: config.num_steps - switch})

    with running(execution) as here:
        if (result := finished(out, identity=opened.identity, writes=here.writes)) is not None:
            return result
        validation = make_validation(config, opened, here)
        model = HybridLM.create(config.model, seed=config.seed, device=here.loading)

        def batches(step: int) -> Batch:
            phase, start = (1, 0) if step < switch else (2, switch)
            return read_batch(config, data, here, phase=phase, step=step - start)

        depths = config.mtp_depths if config.model.num_nextn_predict_layers else 0
        flops_per_token = config.model.training_flops_per_token(config.seq_len, mtp_depths=depths)
        this = Run(
            **parts_of(config, opened, out, execution, here, name="pretrain"),
            objective=CrossEntropy(
                model, z_loss=config.z_loss, mtp_depths=config.mtp_depths, mtp_loss_scale=config.mtp_loss_scale
            ),
            batches=batches,
            validate=validation.measure,
            flops_per_token=flops_per_token,
        )
        fit(this)

        def checks(before: dict[str, Any], after: dict[str, Any]) -> list[Check]:
            initial = improved(
                "validation_loss_improved",
                before["loss"],
                after["loss"],
                description="the validation loss is below that of the initial weights",
            )
            unigrams = improved(
                "beats_unigrams",
                validation.unigram_loss(),
                after["loss"],
                description="the validation loss is below the best that a model without context can reach",
                blocking=False,
            )
            return [initial, unigrams]

        return finish(this, tokenizer=opened.tokenizer, checks=checks)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What every training run reads, and its identity."""

    training_set: Path
    tokenizer: Path
    data: TokenData
    vocabulary: Vocabulary
    digests: Mapping[str, str]
    identity: str


def open_run(stage: str, config: RunConfig, inputs: Inputs, files: Mapping[str, Path] | None = None) -> Opened:
    """The training set over its shards, and the tokenizer that made them; `files` are what else decides the result.

    Raises:
        InputError: when they do not belong together, a file is missing, or samples cannot be made here.
    """
    training_set, tokenizer = one(inputs, "training_set"), one(inputs, "tokenizer")
    found = digests({"training_set": training_set / MANIFEST, "tokenizer": tokenizer / FILE, **(files or {})})
    data = TokenData.open(training_set, many(inputs, "tokens"))
    if found["tokenizer"] != json.loads((training_set / MANIFEST).read_bytes())["tokenizer_sha256"]:
        raise InputError(f"{tokenizer / FILE}: is not the tokenizer that made the tokens of {training_set}")
    check_can_sample(config)
    return Opened(
        training_set=training_set,
        tokenizer=tokenizer,
        data=data,
        vocabulary=read_vocabulary(tokenizer),
        digests=found,
        identity=fingerprint({"stage": stage, "config": encode(config), "inputs": found}),
    )


@contextmanager
def running(execution: Execution) -> Iterator[World]:
    """The processes of a run, which has the same bits whenever it is executed.

    Raises InputError for an execution that cannot be had here.
    """
    if execution.compile:
        check_compiler(torch.device(execution.device))
    with (
        deterministic(threads=execution.threads, device=execution.device),
        world(execution.device, parallel=execution.parallel) as here,
    ):
        yield here


def parts_of(
    config: RunConfig, opened: Opened, out: Path, execution: Execution, here: World, *, name: str
) -> dict[str, Any]:
    """The fields of a Run that no objective decides.

    Raises:
        InputError: when a watcher or the reference is not there.
    """
    reference = Divergence(Reference(execution.reference)) if execution.reference else None
    return {
        "config": config,
        "identity": opened.identity,
        "out": out,
        "world": here,
        "tokenizer_files": tokenizer_files(opened.tokenizer),
        "track": progress(name, here),
        "compiled": execution.compile,
        "keep_states": execution.keep_states,
        "on_metrics": execution.on_metrics,
        "watchers": open_watchers(execution.watch, out, encode(config)) if here.writes else (),
        "divergence": reference,
    }


def make_validation(config: RunConfig, opened: Opened, here: World) -> Validation:
    """The validation sample that a run config asks for."""
    return Validation(
        opened.data,
        opened.training_set,
        token_bytes=opened.vocabulary.token_bytes,
        num_sequences=config.validation_sequences,
        batch_size=config.batch_size,
        seq_len=config.seq_len,
        world=here,
    )


def read_batch(config: RunConfig, data: TokenData, here: World, *, phase: int, step: int) -> Batch:
    """This process's part of a batch; `step` counts from the beginning of the phase."""
    return data.batch(
        phase=phase,
        step=step,
        batch_size=config.batch_size,
        seq_len=config.seq_len,
        seed=config.seed,
        packing=config.packing,
        rank=here.rank,
        world_size=here.size,
    )


def check_phases(data: TokenData, training_set: Path, steps: dict[int, int]) -> None:
    """Raise InputError for a phase that has steps and no tokens."""
    for phase, count in steps.items():
        if count and not data.num_tokens("train", phase):
            raise InputError(f"{training_set}: phase {phase} has no tokens, but {count} steps are to read it")


def progress(name: str, here: World) -> Callable[[range], Iterator[int]]:
    """Progress of the process that writes."""
    if not here.writes:
        return iter
    return lambda steps: track(steps, description=name, unit="step")
