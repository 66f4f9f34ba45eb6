"""A distillation step beside what it is made of: the teacher's forward pass and a training step of the student."""

import dataclasses
import os

import torch

from assets.recipes.demo import demo
from kernels.distill_loss import linear_most_likely
from kernels.linear_loss import linear_cross_entropy
from model.hybrid import HybridLM
from ops.distill.config import DistillConfig, LossConfig
from ops.distill.objective import Distillation
from ops.prune.target import resolve_width
from ops.train.config import TrainConfig
from tests.benchmarks.timing import best_of, show

BATCH, LENGTH, TOP_K = 8, 256, 64
THREADS = int(os.environ.get("BENCH_THREADS", "2"))


def bench_distillation_step() -> None:
    torch.set_num_threads(THREADS)
    recipe = demo()
    assert isinstance(recipe.teacher, TrainConfig)
    teacher = HybridLM.create(recipe.teacher.model, seed=0).requires_grad_(False)
    student = HybridLM.create(resolve_width(teacher.config, recipe.students[0].prune.width), seed=1)
    generator = torch.Generator().manual_seed(0)
    ids_BL, labels_BL = (torch.randint(teacher.config.vocab_size, (BATCH, LENGTH), generator=generator) for _ in "ab")
    seq_idx_BL = torch.zeros(BATCH, LENGTH, dtype=torch.int32)

    def teacher_forward() -> None:
        with torch.no_grad():
            teacher(ids_BL, seq_idx_BL=seq_idx_BL)

    def student_step() -> None:
        hidden_TD = student.hidden_states(ids_BL, seq_idx_BL=seq_idx_BL).flatten(0, 1)
        linear_cross_entropy(hidden_TD, student.lm_head.weight, labels_BL.flatten())[0].backward()
        student.zero_grad()

    def both() -> None:
        teacher_forward()
        student_step()

    with torch.no_grad():
        hidden_TD = teacher.hidden_states(ids_BL, seq_idx_BL=seq_idx_BL).flatten(0, 1)
        top = linear_most_likely(hidden_TD, teacher.lm_head.weight, TOP_K)
    kept = {
        "teacher_ids": top.ids_TK.unflatten(0, (BATCH, LENGTH)),
        "teacher_log_probs": top.log_probs_TK.unflatten(0, (BATCH, LENGTH)),
        "teacher_log_tail": top.log_tail_T.unflatten(0, (BATCH, LENGTH)),
    }

    def step(config: DistillConfig, **more: torch.Tensor) -> None:
        total, _ = Distillation(student, teacher, config)(ids_BL, labels_BL, seq_idx_BL, **more)
        total.backward()
        student.zero_grad()

    bucket = LossConfig(kind="top_k_kl", top_k=TOP_K, tail="bucket")
    configs = {
        kind: DistillConfig(loss=LossConfig(kind=kind)) for kind in ("forward_kl", "reverse_kl", "mse", "cosine")
    }
    configs |= {
        "top_k_kl, renormalised": DistillConfig(loss=dataclasses.replace(bucket, tail="renormalise")),
        "top_k_kl, bucket": DistillConfig(loss=bucket),
    }
    contenders = {"teacher forward + student step": both, "student step alone": student_step}
    contenders |= {name: (lambda config=config: step(config)) for name, config in configs.items()}
    cached = DistillConfig(loss=bucket, teacher="cached")
    contenders["top_k_kl, bucket, cached"] = lambda: step(cached, **kept)
    seconds = best_of(contenders)
    show(f"distillation step of the demo's width student, {THREADS} threads", seconds, BATCH * LENGTH, "tokens")
    for name in [*configs, "top_k_kl, bucket, cached"]:
        ratio = seconds[name] / seconds["teacher forward + student step"]
        print(f"  {name:<34}{ratio:>10.2f}x of teacher forward + student step")
