"""Distillation as a stage, on the loop of pretraining."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.hybrid import HybridLM
from ops.atomic import write_bytes
from ops.data import Batch
from ops.distill.config import DistillConfig
from ops.distill.objective import Distillation, detach_projection
from ops.errors import InputError
from ops.sort_teacher.maps_file import INDEX_MAPS
from ops.stage import Check, Execution, Inputs, StageResult, one
from ops.teacher_logits.read import SOURCE, TeacherLogits
from ops.train.loop import Run, fit
from ops.train.result import checkpoint_files, finish, finished, improved, load_model
from ops.train.run import check_phases, make_validation, open_run, parts_of, read_batch, running
from ops.train.sharding import shard_teacher
from ops.train.vocabulary import check_same_size


def run(config: DistillConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Distil input `teacher` into input `student`; `out` becomes a `nemotron_h` checkpoint directory.

    With cached logits, input `teacher_logits`, the teacher itself is only what validation compares with.

    Under `torchrun` each process calls this; process 0 writes.

    Raises:
        InputError: when inputs do not fit each other or the config.
        NonFiniteError: when training diverges.
    """
    student_path, teacher_path = one(inputs, "student"), one(inputs, "teacher")
    files = checkpoint_files("student", student_path) | checkpoint_files("teacher", teacher_path)
    kept = TeacherLogits.open(one(inputs, "teacher_logits")) if config.teacher == "cached" else None
    if kept is not None:
        files["teacher_logits"] = kept.directory / SOURCE
    opened = open_run("distill", config, inputs, files)
    data = opened.data
    if kept is not None:
        check_kept(kept, config, opened.digests)
    check_phases(data, opened.training_set, {config.phase: config.num_steps})

    with running(execution) as here:
        if (result := finished(out, identity=opened.identity, writes=here.writes)) is not None:
            return result
        student, teacher = load_model(student_path, here.loading), load_model(teacher_path, here.loading)
        check_same_size(
            student=student.config.vocab_size,
            teacher=teacher.config.vocab_size,
            tokenizer=opened.vocabulary.size,
            training_set=data.vocab_size,
        )
        if student.config.num_nextn_predict_layers > config.mtp_depths:
            raise InputError(
                f"DistillConfig.mtp_depths: {config.mtp_depths}, but the student has blocks for "
                f"{student.config.num_nextn_predict_layers}: the others would learn nothing"
            )
        teacher.requires_grad_(False)
        if here.sharded:
            shard_teacher(teacher, here)
        validation = make_validation(config, opened, here)

        def batches(step: int) -> Batch:
            batch = read_batch(config, data, here, phase=config.phase, step=step)
            if kept is None:
                return batch
            local = config.batch_size // here.size
            first = step * config.batch_size + here.rank * local
            return replace(batch, more=kept.rows(range(first, first + local)))

        def validate(model: HybridLM) -> dict[str, Any]:
            return validation.measure(model, teacher=teacher, temperature=config.temperature)

        teacher_validation = validation.measure(teacher)
        depths = config.mtp_depths if student.config.num_nextn_predict_layers else 0
        training = student.config.training_flops_per_token(config.seq_len, mtp_depths=depths)
        no_teacher = config.loss.kind == "cross_entropy" or kept is not None
        reading = 0 if no_teacher else teacher.config.flops_per_token(config.seq_len)
        this = Run(
            **parts_of(config, opened, out, execution, here, name="distill"),
            objective=Distillation(student, teacher, config),
            batches=batches,
            validate=validate,
            flops_per_token=training + reading,
        )
        fit(this)
        detach_projection(student)

        def checks(before: dict[str, Any], after: dict[str, Any]) -> list[Check]:
            kl = improved(
                "validation_kl_improved",
                before["kl"],
                after["kl"],
                description="on held-out text the student is nearer to its teacher than before (forward KL)",
            )
            loss = improved(
                "validation_loss_improved",
                before["loss"],
                after["loss"],
                description="the validation loss is below that of the pruned student",
                blocking=False,
            )
            return [kl, loss]

        if here.writes and (student_path / INDEX_MAPS).exists():
            write_bytes(out / INDEX_MAPS, (student_path / INDEX_MAPS).read_bytes())
        return finish(
            this,
            tokenizer=opened.tokenizer,
            checks=checks,
            summary={"teacher_validation": teacher_validation},
        )


def check_kept(kept: TeacherLogits, config: DistillConfig, found: Mapping[str, str]) -> None:
    """Raise InputError for kept logits of another teacher, other data or another order than the run's, or too few."""
    where = kept.directory
    for name, digest in kept.digests.items():
        if found.get(name) != digest:
            raise InputError(f"{where}: was made with another {name}; make the teacher's logits again")
    for name in ("seq_len", "phase", "seed", "packing"):
        if getattr(kept.config, name) != getattr(config, name):
            raise InputError(
                f"{where}: {name} is {getattr(kept.config, name)!r} there, {getattr(config, name)!r} in DistillConfig"
            )
    read = config.num_steps * config.batch_size
    if read > kept.config.num_sequences:
        raise InputError(f"{where}: keeps {kept.config.num_sequences} sequences, the run reads {read}")
    if config.loss.top_k > kept.config.top_k:
        raise InputError(f"{where}: keeps {kept.config.top_k} tokens of each distribution, not {config.loss.top_k}")
