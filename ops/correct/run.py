"""Teacher correction as a stage, on the loop of pretraining."""

from pathlib import Path
from typing import Any

from ops.correct.config import CorrectConfig
from ops.data import Batch
from ops.stage import Check, Execution, Inputs, StageResult, one
from ops.train.loop import Run, fit
from ops.train.objective import CrossEntropy
from ops.train.result import checkpoint_files, finish, finished, improved, load_model
from ops.train.run import check_phases, make_validation, open_run, parts_of, read_batch, running
from ops.train.vocabulary import check_same_size


def run(config: CorrectConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Train input `teacher` further; `out` becomes a `nemotron_h` checkpoint directory of the same network.

    Under `torchrun` each process calls this; process 0 writes.

    Raises:
        InputError: when inputs do not fit each other or the config.
        NonFiniteError: when training diverges.
    """
    teacher_path = one(inputs, "teacher")
    opened = open_run("correct", config, inputs, checkpoint_files("teacher", teacher_path))
    data = opened.data
    check_phases(data, opened.training_set, {config.phase: config.num_steps})
    with running(execution) as here:
        if (result := finished(out, identity=opened.identity, writes=here.writes)) is not None:
            return result
        teacher = load_model(teacher_path, here.loading)
        check_same_size(
            teacher=teacher.config.vocab_size, tokenizer=opened.vocabulary.size, training_set=data.vocab_size
        )
        depths = max(config.mtp_depths, teacher.config.num_nextn_predict_layers)

        def batches(step: int) -> Batch:
            return read_batch(config, data, here, phase=config.phase, step=step)

        predicted = depths if teacher.mtp is not None else 0
        flops_per_token = teacher.config.training_flops_per_token(config.seq_len, mtp_depths=predicted)
        this = Run(
            **parts_of(config, opened, out, execution, here, name="correct"),
            objective=CrossEntropy(teacher, mtp_depths=depths, mtp_loss_scale=config.mtp_loss_scale),
            batches=batches,
            validate=make_validation(config, opened, here).measure,
            flops_per_token=flops_per_token,
        )
        fit(this)

        def checks(before: dict[str, Any], after: dict[str, Any]) -> list[Check]:
            said = "the validation loss is below that of the teacher before"
            return [
                improved("validation_loss_improved", before["loss"], after["loss"], description=said, blocking=False)
            ]

        return finish(this, tokenizer=opened.tokenizer, checks=checks)
