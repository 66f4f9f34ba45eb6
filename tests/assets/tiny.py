"""A recipe for tests: the demo's chain at a size that takes a minute."""

from dataclasses import replace

from assets.recipes import Recipe, Student
from assets.recipes.demo import PLANTED_TASKS, demo
from assets.settings import LaunchMode, Settings
from ops.eval_tasks.config import DEMO_TASKS, EvalTasksConfig
from ops.evaluate.config import EvaluateConfig
from ops.importance.config import ImportanceConfig
from ops.prune.config import DepthTarget, PruneConfig, WidthTarget
from ops.sample_crawl.config import SampleCrawlConfig
from ops.search.config import Budget, SearchConfig, Space
from ops.search.latency.config import Workload
from ops.tokenizer.config import TokenizerConfig, TrainBPE
from ops.train.config import AdamWConfig, TrainConfig, WSDConfig
from ops.training_set.config import TrainingSetConfig

VOCAB_SIZE = 512


def tiny(peak_lr: float = 4e-3) -> Recipe:
    """Eighty pages, a model of 30 thousand parameters."""
    base = demo()
    assert isinstance(base.teacher, TrainConfig)
    sample = SampleCrawlConfig(
        num_pages=80,
        files_per_crawl=2,
        math_packages=("mpmath",),
        pages_per_language=1,
        eval_tasks=PLANTED_TASKS[:1],
        num_eval_pages=2,
    )
    run = {
        "schedule": WSDConfig(warmup_steps=2),
        "batch_size": 4,
        "seq_len": 64,
        "total_tokens": 12 * 4 * 64,
        "log_every_steps": 4,
        "validate_every_steps": 6,
        "validation_sequences": 8,
        "sample_tokens": 4,
    }
    model = replace(
        base.teacher.model,
        pattern="M-*-M-",
        vocab_size=VOCAB_SIZE,
        d_model=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        mamba_num_heads=4,
        mamba_head_dim=8,
        ssm_state_size=8,
        chunk_size=32,
    )
    width, depth, memory = base.students
    distill = replace(width.distill, **run)
    search = SearchConfig(
        space=Space(width={"d_model": (24, 32), "intermediate_size": (32, 64)}, num_layers=(4, 5)),
        budget=Budget(memory_bytes=100_000, context=256, workload=Workload(prompt_tokens=8, decode_tokens=2)),
        min_use=0.9,
        calibration_sequences=4,
        seq_len=64,
        finalists=2,
        distill=replace(distill, total_tokens=4 * 4 * 64, validation_sequences=4, sample_prompts=()),
        max_rounds=1,
    )
    return replace(
        base,
        name="tiny",
        crawls=sample.crawls,
        num_buckets=2,
        sample_crawl=sample,
        eval_tasks=EvalTasksConfig(tasks=tuple(t for t in DEMO_TASKS if t.name in ("gsm8k", "arc_easy")), limit=8),
        tokenizer=TokenizerConfig(source=TrainBPE(vocab_size=VOCAB_SIZE)),
        training_set=TrainingSetConfig(
            phase1_min_int_score=0, phase2_min_int_score=1, validation_fraction=0.2, large_source_documents=5
        ),
        teacher=TrainConfig(model=model, optimizer=AdamWConfig(peak_lr=peak_lr), **run),
        importance=ImportanceConfig(num_samples=4, seq_len=64, batch_size=2, depth_num_samples=2, depth_steps=2),
        students=(
            Student(
                name=width.name,
                description=width.description,
                prune=PruneConfig(width=WidthTarget(d_model=24, intermediate_size=0.5)),
                distill=distill,
            ),
            Student(
                name=depth.name,
                description=depth.description,
                prune=PruneConfig(depth=DepthTarget(num_layers=5)),
                distill=distill,
            ),
            Student(
                name=memory.name, description=memory.description, prune=PruneConfig(), search=search, distill=distill
            ),
        ),
        evidence=None,
        evaluate=EvaluateConfig(
            max_validation_tokens=2000, max_seq_len=64, task_limit=4, speed_prompt_tokens=16, speed_decode_tokens=4
        ),
    )


def tiny_settings(recipe: Recipe | None = None, *, launch: LaunchMode = "inprocess", **more) -> Settings:
    """Two processes for data, the model's stages in this process."""
    return Settings(recipe=recipe or tiny(), num_processes=2, threads=1, launch=launch, **more)
