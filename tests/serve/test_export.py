"""vLLM loads exports as they are and writes the same tokens as our own generator."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from model.checkpoint import load_checkpoint, save_checkpoint
from model.config import HybridConfig
from model.generate import generate
from model.hybrid import HybridLM
from ops.export.config import ExportConfig
from ops.export.run import run
from ops.stage import Execution
from ops.train.vocabulary import tokenizer_files
from tests.model.common import LATENT_MOE, MOE, PRUNED, TINY, shake
from tests.ops.training_inputs import EOD, standard_library_texts, write_tokenizer
from tests.serve.environment import needs_vllm, work

VOCAB_SIZE = 320
NEW_TOKENS = 24
LENGTHS = (1, 5, 37, 100, 200)
"""Of the prompts: within one chunk of the scan (16 tokens), past it, and many."""
TEXT = "Return the square root of x."

# vLLM's attention for CPUs has no narrower heads. Its SSM kernels take any width.
COMMON: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "head_dim": 32, "eos_token_id": EOD}
DENSE = {
    "grouped": replace(TINY, d_model=64, **COMMON),
    "tied": replace(TINY, d_model=64, tie_word_embeddings=True, **COMMON),
    "pruned": replace(PRUNED, **COMMON),
}
EXPERTS = {"experts": replace(MOE, d_model=64, **COMMON), "latent": replace(LATENT_MOE, d_model=64, **COMMON)}


@dataclass(frozen=True, kw_only=True)
class Exported:
    folder: Path
    model: HybridLM
    prompts: list[list[int]]
    ids: list[list[int]]
    """What our own generator writes behind each prompt."""


def export(name: str, config: HybridConfig, root: Path, tokenizer: Path, dtype: Any) -> Exported:
    """A network that looks trained, as an export; the last prompt's continuation ends with the token of the end."""
    model = shake(HybridLM.create(config, seed=3)).eval()
    generator = torch.Generator().manual_seed(len(name))
    prompts = [torch.randint(3, VOCAB_SIZE, (length,), generator=generator).tolist() for length in LENGTHS]
    if not config.tie_word_embeddings:
        # The output row of a token that it would write goes to the token of the end, which then ends a text.
        chosen = continuation(model, prompts[-1])[NEW_TOKENS // 2]
        with torch.no_grad():
            model.lm_head.weight[[chosen, EOD]] = model.lm_head.weight[[EOD, chosen]].clone()
    source, folder = root / name, root / f"{name}-export"
    save_checkpoint(model, source, tokenizer_files=tokenizer_files(tokenizer))
    folder.mkdir()
    result = run(ExportConfig(dtype=dtype, max_shard_size=50_000), {"checkpoint": [source]}, folder, Execution())
    assert all(check.passed for check in result.checks)
    assert result.counts["weights_files"] > 1
    ours = load_checkpoint(folder, dtype=torch.float32).eval()
    return Exported(folder=folder, model=ours, prompts=prompts, ids=[continuation(ours, prompt) for prompt in prompts])


def continuation(model: HybridLM, prompt: list[int]) -> list[int]:
    ids_1T = generate(model, torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, eos_token_id=EOD)
    return ids_1T[0, len(prompt) :].tolist()


def log_likelihoods(model: HybridLM, prompt: list[int], written: list[int]) -> list[float]:
    """One forward pass over everything, in float64 from the logits on."""
    with torch.no_grad():
        logits_TV = model(torch.tensor([prompt + written]))[0].double().log_softmax(-1)
    return [float(logits_TV[len(prompt) - 1 + place, token]) for place, token in enumerate(written)]


def compare(networks: dict[str, HybridConfig], root: Path, options: dict[str, Any]) -> None:
    write_tokenizer(root / "tokenizer", standard_library_texts(), VOCAB_SIZE)
    # bfloat16 is how exports are written by default; both sides compute in float32 from the rounded weights.
    dtypes = {name: "bfloat16" if config.tie_word_embeddings else "float32" for name, config in networks.items()}
    made = {name: export(name, config, root, root / "tokenizer", dtypes[name]) for name, config in networks.items()}
    requests = [
        {
            "model": str(each.folder),
            "prompts": each.prompts,
            "text": TEXT,
            "max_new_tokens": NEW_TOKENS,
            "options": {"dtype": "float32", **options},
        }
        for each in made.values()
    ]
    answers = work({"generate": requests}, root)
    tokenizer = Tokenizer.from_file(str(root / "tokenizer" / "tokenizer.json"))
    ended = 0
    for (name, each), answer in zip(made.items(), answers, strict=True):
        assert answer["ids"] == each.ids, name
        for prompt, written, found in zip(each.prompts, each.ids, answer["log_likelihoods"], strict=True):
            assert found == pytest.approx(log_likelihoods(each.model, prompt, written), abs=1e-3), name
        reasons = ["stop" if written[-1] == EOD else "length" for written in each.ids]
        assert answer["finish_reason"] == reasons, name
        ended += "stop" in reasons
        text_ids = tokenizer.encode(TEXT).ids
        assert answer["text_ids"] == text_ids, name
        written = continuation(each.model, text_ids)
        assert answer["text_continuation_ids"] == written, name
        # What ends within a character is held back.
        assert answer["text_continuation"] == tokenizer.decode(written).rstrip("\ufffd"), name
    assert ended == sum(not config.tie_word_embeddings for config in networks.values())


@pytest.mark.slow
@needs_vllm
@pytest.mark.timeout(2400)
def test_dense_networks_on_its_cpu_build(tmp_path: Path) -> None:
    """Several prompts at once, prompts cut into pieces of 64 tokens, the state carried from one to the next."""
    options = {"max_model_len": 512, "max_num_seqs": 4, "max_num_batched_tokens": 64}
    # The CPU build of 0.32 keeps no states at chunk boundaries, which its prefix cache for such networks asks for.
    compare(DENSE, tmp_path, {**options, "enable_prefix_caching": False})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@needs_vllm
@pytest.mark.timeout(2400)
def test_networks_with_experts(tmp_path: Path) -> None:
    """vLLM's CPU build has no experts without a gate (squared ReLU)."""
    compare(EXPERTS, tmp_path, {"max_model_len": 512, "gpu_memory_utilization": 0.3})
