"""Small networks for the tests of the model."""

from dataclasses import replace

from model.config import HybridConfig

TINY = HybridConfig(
    pattern="M-M*-M-",
    vocab_size=97,
    d_model=32,
    intermediate_size=48,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    mamba_num_heads=6,
    mamba_head_dim=8,
    ssm_state_size=16,
    n_groups=2,
    chunk_size=16,
    initializer_range=0.15,
)
TIED = replace(TINY, tie_word_embeddings=True)
# Widths as pruning leaves them: no power of two, and d_inner is not a multiple of d_model.
PRUNED = replace(
    TINY, pattern="MM*-", d_model=27, intermediate_size=37, mamba_num_heads=6, mamba_head_dim=5, n_groups=3
)
UNGROUPED = replace(TINY, num_key_value_heads=4, n_groups=1, pattern="M*-")
VARIANTS = {"tiny": TINY, "tied": TIED, "pruned": PRUNED, "ungrouped": UNGROUPED}
