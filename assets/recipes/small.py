"""Small: the sample crawls at three times the size, a teacher of about 30 M parameters; an hour on one GPU."""

from dataclasses import replace

from assets.recipes.demo import PLANTED_TASKS, demo
from assets.recipes.recipe import Recipe
from model.config import HybridConfig, width_scaled_std
from ops.evaluate.config import EvaluateConfig
from ops.evidence.config import SMALL, EvidenceConfig, TeachersConfig
from ops.importance.config import ImportanceConfig
from ops.sample_crawl.config import SampleCrawlConfig
from ops.tokenizer.config import TokenizerConfig, TrainBPE
from ops.train.config import AdamWConfig, TrainConfig, WSDConfig

VOCAB_SIZE = 16_384


def small() -> Recipe:
    """The demo's chain with a model that is worth talking to."""
    base = demo()
    sample = SampleCrawlConfig(num_pages=9_000, files_per_crawl=8, eval_tasks=PLANTED_TASKS)
    model = HybridConfig(
        pattern="M-M-M-M*-M-M-M-M*-M-M-M-",
        vocab_size=VOCAB_SIZE,
        d_model=384,
        intermediate_size=1536,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=64,
        mamba_num_heads=12,
        mamba_head_dim=64,
        ssm_state_size=64,
        n_groups=2,
        chunk_size=128,
        initializer_range=width_scaled_std(384),
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    return replace(
        base,
        name="small",
        description="A model of about 30 M parameters; an hour on one GPU.",
        sample_crawl=sample,
        crawls=sample.crawls,
        tokenizer=TokenizerConfig(source=TrainBPE(vocab_size=VOCAB_SIZE)),
        teacher=TrainConfig(
            model=model,
            optimizer=AdamWConfig(peak_lr=2e-3),
            schedule=WSDConfig(warmup_steps=100),
            total_tokens=100_000_000,
            batch_size=32,
            seq_len=1024,
        ),
        importance=ImportanceConfig(num_samples=512, seq_len=1024, depth_num_samples=16),
        students=tuple(
            replace(student, distill=replace(student.distill, total_tokens=20_000_000, batch_size=32, seq_len=1024))
            for student in base.students
        ),
        evaluate=EvaluateConfig(max_seq_len=1024),
        evidence=EvidenceConfig(teachers=TeachersConfig(model=replace(SMALL, vocab_size=VOCAB_SIZE))),
    )
