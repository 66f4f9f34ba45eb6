"""The demo: the whole chain on a laptop, in minutes."""

from dataclasses import replace

from assets.recipes.recipe import Recipe, Student
from model.config import HybridConfig, width_scaled_std
from ops.crawl_manifest.config import SampleSource
from ops.distill.config import DistillConfig
from ops.evaluate.config import EvaluateConfig
from ops.evidence.config import EvidenceConfig
from ops.importance.config import ImportanceConfig
from ops.prune.config import DepthTarget, PruneConfig, WidthTarget
from ops.sample_crawl.config import SampleCrawlConfig
from ops.search.config import Budget, SearchConfig, Space
from ops.tokenizer.config import TokenizerConfig, TrainBPE
from ops.train.config import AdamWConfig, TrainConfig, WSDConfig
from ops.training_set.config import TrainingSetConfig

VOCAB_SIZE = 4096
PLANTED_TASKS = (
    "gsm8k/gold_bpb_5shot",
    "arc_easy/rc_0shot",
    "arc_challenge/rc_0shot",
    "minerva_math_500/gold_bpb_0shot",
)
"""Items of these tasks stand in pages of the sample crawl; the recipe's own tasks include them."""


def demo() -> Recipe:
    """Two sample crawls, a teacher of 1.3 M parameters, and three smaller students, one of them searched."""
    sample = SampleCrawlConfig(eval_tasks=PLANTED_TASKS)
    teacher = HybridConfig(
        pattern="M-M-M*-M-",
        vocab_size=VOCAB_SIZE,
        d_model=96,
        intermediate_size=288,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=32,
        mamba_num_heads=6,
        mamba_head_dim=32,
        ssm_state_size=32,
        n_groups=2,
        chunk_size=32,
        initializer_range=width_scaled_std(96),
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    distill = DistillConfig(
        optimizer=AdamWConfig(peak_lr=1e-3),
        schedule=WSDConfig(warmup_steps=10, decay_fraction=0.5),
        batch_size=8,
        seq_len=256,
        total_tokens=110_000,
    )
    search = SearchConfig(
        space=Space(
            width={"d_model": (0.75, 0.84, 1.0), "intermediate_size": (0.5, 0.67, 0.84, 1.0)},
            num_layers=(0.78, 1.0),
            keep={"*": 1.0},
        ),
        budget=Budget(memory_bytes=0.8, context=4096),
        min_use=0.95,
        calibration_sequences=32,
        finalists=3,
        distill=replace(
            distill,
            schedule=WSDConfig(warmup_steps=2, decay_fraction=0.5),
            total_tokens=8 * 2048,
            validation_sequences=32,
            sample_prompts=(),
        ),
        max_rounds=2,
    )
    return Recipe(
        name="demo",
        description="The whole chain on a laptop in minutes.",
        source=SampleSource(),
        crawls=sample.crawls,
        num_buckets=4,
        sample_crawl=sample,
        tokenizer=TokenizerConfig(source=TrainBPE(vocab_size=VOCAB_SIZE)),
        training_set=TrainingSetConfig(phase1_min_int_score=1, phase2_min_int_score=3),
        teacher=TrainConfig(
            model=teacher,
            optimizer=AdamWConfig(peak_lr=4e-3),
            schedule=WSDConfig(warmup_steps=20, decay_fraction=0.3),
            batch_size=16,
            seq_len=256,
            total_tokens=460_000,
        ),
        importance=ImportanceConfig(num_samples=64, seq_len=256, depth_num_samples=8, depth_steps=4),
        students=(
            Student(
                name="width",
                description="narrower: fewer channels, neurons and Mamba heads",
                prune=PruneConfig(width=WidthTarget(d_model=0.75, intermediate_size=0.67, mamba_num_heads=0.75)),
                distill=distill,
            ),
            Student(
                name="depth",
                description="shallower: the least useful layers left out",
                prune=PruneConfig(depth=DepthTarget(num_layers=7, keep={"*": 1})),
                distill=distill,
            ),
            Student(
                name="memory",
                description="the best that decodes 4,096 tokens in 80 % of the teacher's memory",
                prune=PruneConfig(),
                search=search,
                distill=replace(distill, total_tokens=45_000),
            ),
        ),
        evaluate=EvaluateConfig(max_validation_tokens=25_000, max_seq_len=256, task_limit=20),
        evidence=EvidenceConfig(),
    )
