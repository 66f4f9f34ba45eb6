"""Half an hour: the demo's corpus, and a teacher of 5 M parameters that has half an hour of one core."""

from dataclasses import replace

from assets.recipes.demo import VOCAB_SIZE, demo
from assets.recipes.recipe import Recipe
from model.config import HybridConfig, width_scaled_std
from ops.train.config import AdamWConfig, TrainConfig, WSDConfig


def half_hour() -> Recipe:
    """The demo's chain up to the tokens, which it shares with the demo in one store, then a larger teacher."""
    model = HybridConfig(
        pattern="M-M-M*-M-M-",
        vocab_size=VOCAB_SIZE,
        d_model=224,
        intermediate_size=672,
        num_attention_heads=7,
        num_key_value_heads=1,
        head_dim=32,
        mamba_num_heads=14,
        mamba_head_dim=32,
        ssm_state_size=32,
        n_groups=2,
        chunk_size=64,
        initializer_range=width_scaled_std(224),
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    base = demo()
    return replace(
        base,
        name="half_hour",
        description="A model of 5 M parameters, trained for half an hour of one core on the demo's corpus.",
        teacher=TrainConfig(
            model=model,
            optimizer=AdamWConfig(peak_lr=3e-3),
            schedule=WSDConfig(warmup_steps=40, decay_fraction=0.3),
            batch_size=16,
            seq_len=256,
            total_tokens=3_500_000,
            sample_tokens=80,
        ),
        students=tuple(
            replace(student, distill=replace(student.distill, total_tokens=1_000_000, batch_size=16))
            for student in base.students
        ),
    )
