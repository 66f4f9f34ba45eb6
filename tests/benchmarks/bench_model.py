"""Training and decoding beside transformers' NemotronH, fp32 on CPU, in one process."""

import os
from pathlib import Path
from typing import Any

import torch

from assets.recipes.demo import demo
from kernels.linear_loss import linear_cross_entropy
from model.checkpoint import save_checkpoint
from model.generate import generate
from model.hybrid import HybridLM
from ops.train.config import TrainConfig
from tests.benchmarks.timing import best_of, show

BATCH, LENGTH, NEW_TOKENS = 8, 256, 64
THREADS = int(os.environ.get("BENCH_THREADS", "2"))


def _pair(tmp_path: Path) -> tuple[HybridLM, Any, torch.Tensor]:
    from transformers import NemotronHForCausalLM

    torch.set_num_threads(THREADS)
    recipe = demo()
    assert isinstance(recipe.teacher, TrainConfig)
    ours = HybridLM.create(recipe.teacher.model, seed=0)
    save_checkpoint(ours, tmp_path)
    theirs = NemotronHForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids_BL = torch.randint(ours.config.vocab_size, (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
    return ours, theirs, ids_BL


def bench_training_step(tmp_path: Path) -> None:
    ours, theirs, ids_BL = _pair(tmp_path)

    def step_ours() -> None:
        hidden_BLD = ours.hidden_states(ids_BL)
        hidden_TD, target_T = hidden_BLD[:, :-1].flatten(0, 1), ids_BL[:, 1:].flatten()
        loss, count = linear_cross_entropy(hidden_TD, ours.lm_head.weight, target_T)
        (loss / count).backward()
        ours.zero_grad()

    def step_theirs() -> None:
        theirs(ids_BL, labels=ids_BL, use_cache=False).loss.backward()
        theirs.zero_grad()

    seconds = best_of({"stillhouse": step_ours, "transformers": step_theirs})
    show(f"training step of the demo's teacher, {THREADS} threads", seconds, BATCH * LENGTH, "tokens")
    flops = ours.config.training_flops_per_token(LENGTH) * BATCH * LENGTH
    print(f"  stillhouse: {flops / seconds['stillhouse'] / 1e9:.1f} GFLOP/s")


def bench_decoding(tmp_path: Path) -> None:
    ours, theirs, ids_BL = _pair(tmp_path)
    options = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 1}
    for batch in (1, BATCH):
        prompt_BL = ids_BL[:batch, :64]
        seconds = best_of(
            {
                "stillhouse": lambda p=prompt_BL: generate(ours, p, max_new_tokens=NEW_TOKENS, eos_token_id=None),
                "transformers": lambda p=prompt_BL: theirs.generate(p, **options),
            },
            repeats=3,
        )
        title = f"greedy decoding with a cache, the demo's teacher, batch {batch}, {THREADS} threads"
        show(title, seconds, batch * NEW_TOKENS, "tokens")
