"""Teacher correction as a stage, on the loop of pretraining."""

from pathlib import Path
from typing import Any

from ops.correct.config import CorrectConfig
from ops.data import Batch
from ops.data.token_data import MANIFEST
from ops.identity import encode, fingerprint
from ops.stage import Check, Execution, Inputs, StageResult, one
from ops.train.distributed import world
from ops.train.loop import Run, deterministic, fit
from ops.train.objective import CrossEntropy
from ops.train.result import check_can_sample, checkpoint_files, digests, finish, finished, improved, load_model
from ops.train.run import check_phases, chosen, make_validation, open_data, progress, read_batch
from ops.train.vocabulary import FILE, check_same_size, tokenizer_files


def run(config: CorrectConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Train input `teacher` further; `out` becomes a `nemotron_h` checkpoint directory of the same network.

    Under `torchrun` each process calls this; process 0 writes.

    Raises:
        InputError: when inputs do not fit each other or the config.
        NonFiniteError: when training diverges.
    """
    training_set, tokenizer, teacher_path = (one(inputs, name) for name in ("training_set", "tokenizer", "teacher"))
    files = {
        "training_set": training_set / MANIFEST,
        "tokenizer": tokenizer / FILE,
        **checkpoint_files("teacher", teacher_path),
    }
    identity = fingerprint({"stage": "correct", "config": encode(config), "inputs": digests(files)})
    data, vocabulary = open_data(inputs)
    check_can_sample(config)
    check_phases(data, training_set, {config.phase: config.num_steps})
    with (
        deterministic(threads=execution.threads, device=execution.device),
        world(execution.device, parallel=execution.parallel) as here,
    ):
        if (result := finished(out, identity=identity, writes=here.writes)) is not None:
            return result
        teacher = load_model(teacher_path, here.loading)
        check_same_size(teacher=teacher.config.vocab_size, tokenizer=vocabulary.size, training_set=data.vocab_size)
        depths = max(config.mtp_depths, teacher.config.num_nextn_predict_layers)

        def batches(step: int) -> Batch:
            return read_batch(config, data, here, phase=config.phase, step=step)

        predicted = depths if teacher.mtp is not None else 0
        flops_per_token = teacher.config.training_flops_per_token(config.seq_len, mtp_depths=predicted)
        this = Run(
            config=config,
            identity=identity,
            objective=CrossEntropy(teacher, mtp_depths=depths, mtp_loss_scale=config.mtp_loss_scale),
            batches=batches,
            validate=make_validation(config, data, training_set, vocabulary, here).measure,
            out=out,
            world=here,
            tokenizer_files=tokenizer_files(tokenizer),
            flops_per_token=flops_per_token,
            **chosen(config, out, execution, here),
            track=progress("correct", here),
        )
        fit(this)

        def checks(before: dict[str, Any], after: dict[str, Any]) -> list[Check]:
            said = "the validation loss is below that of the teacher before"
            return [
                improved("validation_loss_improved", before["loss"], after["loss"], description=said, blocking=False)
            ]

        return finish(this, tokenizer=tokenizer, checks=checks)
