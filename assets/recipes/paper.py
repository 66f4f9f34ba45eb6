"""Paper-scale recipes: dimensions and token budgets as published, so that `--plan` can price them.

What a recipe cannot say yet (FP8 and NVFP4, long-context and post-training phases) is left out, and its tokens with it.
"""

from assets.recipes.recipe import Recipe, Student
from model.presets import NEMOTRON_H_4B, NEMOTRON_H_8B, NEMOTRON_NANO_9B_V2, NEMOTRON_NANO_12B_V2
from ops.crawl_manifest.config import CommonCrawl
from ops.distill.config import DistillConfig
from ops.eval_tasks.config import COMMONSENSE_TASKS, DECONTAMINATION_TASKS, DEMO_TASKS, EvalTasksConfig
from ops.evaluate.config import EvaluateConfig
from ops.importance.config import ImportanceConfig
from ops.prune.config import DepthTarget, PruneConfig, WidthTarget
from ops.sort_teacher.config import SortConfig
from ops.tokenizer.config import Tekken, TokenizerConfig
from ops.train.config import AdamWConfig, TrainConfig, WSDConfig
from ops.training_set.config import TrainingSetConfig

CRAWLS = (
    "CC-MAIN-2023-06",
    "CC-MAIN-2023-14",
    "CC-MAIN-2023-23",
    "CC-MAIN-2023-40",
    "CC-MAIN-2023-50",
    "CC-MAIN-2024-10",
    "CC-MAIN-2024-18",
    "CC-MAIN-2024-22",
    "CC-MAIN-2024-26",
    "CC-MAIN-2024-30",
    "CC-MAIN-2024-33",
    "CC-MAIN-2024-38",
    "CC-MAIN-2024-42",
    "CC-MAIN-2024-46",
    "CC-MAIN-2024-51",
)
DOMAINS = (
    "ar5iv.org",
    "encyclopediaofmath.org",
    "libretexts.org",
    "math.stackexchange.com",
    "mathoverflow.net",
    "mathworld.wolfram.com",
    "ncatlab.org",
    "physicsforums.com",
    "planetmath.org",
    "proofwiki.org",
    "stats.stackexchange.com",
)
"""Hosts of mathematics: a start for a run without a list of addresses (STILLHOUSE_URLS gives one)."""

DATA = {
    "source": CommonCrawl(domains=DOMAINS),
    "crawls": CRAWLS,
    "num_buckets": 96,
    "tokenizer": TokenizerConfig(source=Tekken()),
    "training_set": TrainingSetConfig(phase1_min_int_score=3, phase2_min_int_score=4, validation_fraction=0.001),
    "importance": ImportanceConfig(num_samples=1024, seq_len=8192, batch_size=1, depth_num_samples=64),
    "eval_tasks": EvalTasksConfig(tasks=(*DEMO_TASKS, *COMMONSENSE_TASKS, *DECONTAMINATION_TASKS), limit=None),
    "evaluate": EvaluateConfig(max_seq_len=8192, max_validation_tokens=10_000_000),
}
SEQ_LEN = 8192


def nemotron_h_8b() -> Recipe:
    """Nemotron-H-8B on 15 T tokens (arXiv 2504.03624), and the 4B student of Minitron-SSM on 380 B (arXiv 2504.11409).

    Batch 768, peak learning rate 8e-4. Width target: embedding 3072, FFN 12288, 112 Mamba heads.
    """
    small = NEMOTRON_H_4B
    return Recipe(
        name="nemotron_h_8b",
        description="Nemotron-H-8B and its Minitron-SSM 4B.",
        teacher=TrainConfig(
            model=NEMOTRON_H_8B,
            optimizer=AdamWConfig(peak_lr=8e-4),
            schedule=WSDConfig(warmup_steps=1000),
            batch_size=768,
            seq_len=SEQ_LEN,
            total_tokens=15_000_000_000_000,
        ),
        students=(
            Student(
                name="4b",
                description="width: embedding 3072, FFN 12288, 112 Mamba heads",
                prune=PruneConfig(
                    width=WidthTarget(
                        d_model=small.d_model,
                        intermediate_size=small.intermediate_size,
                        mamba_num_heads=small.mamba_num_heads,
                    ),
                    mamba_head_score="x_score",
                ),
                distill=_distill(380_000_000_000),
            ),
        ),
        sort=SortConfig(mamba_head_score="x_score"),
        **DATA,
    )


def nano_9b_v2() -> Recipe:
    """Nemotron-Nano-12B-v2 on 20 T tokens and its 9B student (arXiv 2508.14444).

    Batch 736, peak learning rate 4.5e-4. The 9B keeps 56 of 62 layers, four of them attention, embedding 4480 and FFN
    15680; 60 B tokens after the cut in depth and 50 B after that in width, at 8,192, are taken as one run.
    """
    nine = NEMOTRON_NANO_9B_V2
    return Recipe(
        name="nano_9b_v2",
        description="Nemotron-Nano-12B-v2 and its 9B.",
        teacher=TrainConfig(
            model=NEMOTRON_NANO_12B_V2,
            optimizer=AdamWConfig(peak_lr=4.5e-4),
            schedule=WSDConfig(warmup_steps=1000, decay_fraction=3.6 / 20),
            batch_size=736,
            seq_len=SEQ_LEN,
            total_tokens=20_000_000_000_000,
        ),
        students=(
            Student(
                name="9b",
                description="56 layers, embedding 4480, FFN 15680",
                prune=PruneConfig(
                    width=WidthTarget(d_model=nine.d_model, intermediate_size=nine.intermediate_size),
                    depth=DepthTarget(keep={kind: nine.pattern.count(kind) for kind in "M-*"}),
                ),
                distill=_distill(110_000_000_000),
            ),
        ),
        **DATA,
    )


def _distill(total_tokens: int) -> DistillConfig:
    """Forward KL with a cosine from 1e-4 to 1e-5 and 100 warm-up steps (rule of thumb of NVIDIA's Model Optimizer)."""
    return DistillConfig(
        optimizer=AdamWConfig(peak_lr=1e-4),
        schedule=WSDConfig(warmup_steps=100, decay_fraction=1.0, decay_shape="cosine", min_lr_ratio=0.1),
        batch_size=768,
        seq_len=SEQ_LEN,
        total_tokens=total_tokens,
    )
