"""Distillation as a stage, on the loop of pretraining."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.hybrid import HybridLM
from ops.atomic import write_bytes
from ops.data import Batch
from ops.data.token_data import MANIFEST
from ops.distill.config import DistillConfig
from ops.distill.objective import Distillation, detach_projection
from ops.errors import InputError
from ops.identity import encode, fingerprint
from ops.sort_teacher.maps_file import INDEX_MAPS
from ops.stage import Check, Execution, Inputs, StageResult, one
from ops.teacher_logits.read import SOURCE, TeacherLogits
from ops.train.distributed import world
from ops.train.loop import Run, deterministic, fit
from ops.train.result import check_can_sample, checkpoint_files, digests, finish, finished, improved, load_model
from ops.train.run import check_phases, chosen, make_validation, open_data, progress, read_batch
from ops.train.sharding import shard_teacher
from ops.train.vocabulary import FILE, check_same_size, tokenizer_files


def run(config: DistillConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Distil input `teacher` into input `student`; `out` becomes a `nemotron_h` checkpoint directory.

    With cached logits, input `teacher_logits`, the teacher itself is only what validation compares with.

    Under `torchrun` each process calls this; process 0 writes.

    Raises:
        InputError: when inputs do not fit each other or the config.
        NonFiniteError: when training diverges.
    """
    training_set, tokenizer = one(inputs, "training_set"), one(inputs, "tokenizer")
    student_path, teacher_path = one(inputs, "student"), one(inputs, "teacher")
    files = {
        "training_set": training_set / MANIFEST,
        "tokenizer": tokenizer / FILE,
        **checkpoint_files("student", student_path),
        **checkpoint_files("teacher", teacher_path),
    }
    kept = TeacherLogits.open(one(inputs, "teacher_logits")) if config.teacher == "cached" else None
    if kept is not None:
        files["teacher_logits"] = kept.directory / SOURCE
    identity = fingerprint({"stage": "distill", "config": encode(config), "inputs": digests(files)})
    if kept is not None:
        check_kept(kept, config, digests(files))
    data, vocabulary = open_data(inputs)
    check_can_sample(config)
    check_phases(data, training_set, {config.phase: config.num_steps})

    with (
        deterministic(threads=execution.threads, device=execution.device),
        world(execution.device, parallel=execution.parallel) as here,
    ):
        if (result := finished(out, identity=identity, writes=here.writes)) is not None:
            return result
        student, teacher = load_model(student_path, here.loading), load_model(teacher_path, here.loading)
        check_same_size(
            student=student.config.vocab_size,
            teacher=teacher.config.vocab_size,
            tokenizer=vocabulary.size,
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
        validation = make_validation(config, data, training_set, vocabulary, here)

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
            config=config,
            identity=identity,
            objective=Distillation(student, teacher, config),
            batches=batches,
            validate=validate,
            out=out,
            world=here,
            tokenizer_files=tokenizer_files(tokenizer),
            flops_per_token=training + reading,
            **chosen(config, out, execution, here),
            track=progress("distill", here),
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
            tokenizer=tokenizer,
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
