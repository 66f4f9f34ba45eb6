"""The calibration pass beside a plain forward pass over the same packed rows (bar: at most 1.3 times)."""

from dataclasses import replace

import pytest
import torch

from assets.recipes.demo import demo
from assets.recipes.small import small
from model.config import HybridConfig
from model.hybrid import HybridLM
from ops.importance.depth import CalibrationBatch
from ops.importance.statistics import Statistics
from ops.importance.width import collect
from ops.train.config import TrainConfig
from tests.benchmarks.timing import best_of, show

BATCH, LENGTH, DOCUMENT = 4, 512, 100
BAR = 1.3


def _networks() -> dict[str, HybridConfig]:
    demo_teacher, small_teacher = demo().teacher, small().teacher
    assert isinstance(demo_teacher, TrainConfig)
    assert isinstance(small_teacher, TrainConfig)
    experts = replace(
        small_teacher.model,
        pattern="MEME*EME",
        n_routed_experts=16,
        num_experts_per_tok=4,
        moe_intermediate_size=384,
        moe_shared_expert_intermediate_size=768,
    )
    return {
        "demo's teacher": demo_teacher.model,
        "small's teacher": small_teacher.model,
        "16 experts": experts,
        "16 experts, latent": replace(experts, moe_latent_size=192),
    }


@pytest.mark.parametrize("name", _networks())
def bench_importance(name: str) -> None:
    torch.set_num_threads(1)
    config = _networks()[name]
    model = HybridLM.create(config, seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    ids_BL = torch.randint(config.vocab_size, (BATCH, LENGTH), generator=generator)
    seq_idx_BL = (torch.arange(LENGTH) // DOCUMENT).expand(BATCH, LENGTH)
    batch = CalibrationBatch(ids_BL, ids_BL, seq_idx_BL, torch.ones_like(ids_BL, dtype=torch.bool))

    @torch.no_grad()
    def forward() -> None:
        model(ids_BL, seq_idx_BL=seq_idx_BL)

    @torch.no_grad()
    def hidden() -> None:
        model.hidden_states(ids_BL, seq_idx_BL=seq_idx_BL)

    def scored() -> None:
        for _ in collect(model, Statistics(), [batch]):
            pass

    seconds = best_of({"with scores": scored, "forward, no logits": hidden, "forward": forward})
    show(f"calibration pass, {name}, {config.num_params() / 1e6:.1f} M, 1 thread", seconds, BATCH * LENGTH, "tokens")
    ratios = [seconds["with scores"] / seconds[other] for other in ("forward", "forward, no logits")]
    print(f"  scores cost {ratios[0]:.2f}x a forward pass, {ratios[1]:.2f}x one without logits (bar {BAR})")
