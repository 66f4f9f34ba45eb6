"""The kernels beside transformers' torch path and torch's own operations, fp32 on CPU, in one process.

The two threads are those of a small machine; on a busy one set `BENCH_THREADS=1` and read the ratios. GFLOP/s are of
the products that the chunked form needs, beside what torch's matrix product reaches here.
"""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from kernels.attention import attention, visible
from kernels.conv1d import causal_conv1d
from kernels.linear_loss import linear_cross_entropy
from kernels.rmsnorm import gated_rms_norm
from kernels.ssd import ssd
from model.checkpoint import save_checkpoint
from model.config import HybridConfig, width_scaled_std
from model.generate import generate, prefill
from model.hybrid import HybridLM
from ops.train.compiled import compiled_layers
from tests.benchmarks.timing import best_of, show

THREADS = int(os.environ.get("BENCH_THREADS", "2"))
SCANS = [
    # batch, length, heads, head_dim, groups, state, transformers' chunk, the bar
    (4, 512, 8, 32, 1, 32, 64, 5),
    (2, 1024, 16, 64, 2, 64, 64, 4),
    (1, 2048, 16, 64, 8, 128, 128, 4),
]
ATTENTIONS = [
    # batch, query heads, key-value heads, length, head_dim
    (8, 8, 2, 256, 32),
    (2, 16, 4, 1024, 64),
]
HYBRID = HybridConfig(
    pattern="M-M-M*-M-",
    vocab_size=4096,
    d_model=256,
    intermediate_size=1024,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=32,
    mamba_num_heads=16,
    mamba_head_dim=32,
    ssm_state_size=32,
    n_groups=1,
    chunk_size=64,
    initializer_range=width_scaled_std(256),
)
"""6.0 M parameters."""


def _normal(*shape: int, seed: int = 0, grad: bool = True) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_(grad)


def _ceiling() -> float:
    """FLOP/s of torch's product of two matrices of 1024 x 1024."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / best_of({"mm": lambda: left @ right})["mm"]


def _threads() -> None:
    torch.set_num_threads(THREADS)
    print(f"\n{THREADS} threads", end="")


@pytest.mark.parametrize("shape", SCANS)
def bench_ssd(shape: tuple[int, ...]) -> None:
    from transformers.models.nemotron_h.modeling_nemotron_h import mamba2_chunk_scan

    _threads()
    batch, length, heads, head_dim, groups, state, chunk, bar = shape
    x, dt = _normal(batch, length, heads, head_dim), _normal(batch, length, heads, seed=1)
    B, C = (_normal(batch, length, groups, state, seed=seed) for seed in (2, 3))
    A, D, bias = -torch.linspace(1, 16, heads), torch.ones(heads), torch.full((heads,), -4.0)
    grad = _normal(batch, length, heads, head_dim, seed=4, grad=False)
    inputs = [x, dt, B, C]

    def theirs() -> Any:
        return mamba2_chunk_scan(x, dt, A, B, C, chunk, D=D, dt_bias=bias, dt_softplus=True)

    def ours(backend: str) -> Tensor:
        return ssd(x, softplus(dt + bias), A, B, C, D_H=D, chunk_size=chunk, backend=backend)[0]

    def step(forward: Any) -> None:
        torch.autograd.grad(forward(), inputs, grad)

    contenders = {
        "cpu": lambda: step(lambda: ours("cpu")),
        "torch": lambda: step(lambda: ours("torch")),
        "transformers": lambda: step(theirs),
    }
    seconds = best_of(contenders)
    size = min(64, chunk)
    products = batch * length * heads * (6 * state * head_dim + 3 * size * (head_dim + state * groups / heads) / 2)
    title = f"SSD forward and backward (b, l, h, p, g, n) = {shape[:6]}; bar {bar}x"
    show(title, seconds, batch * length, "tokens")
    reached = 2 * products / seconds["cpu"] / 1e9
    print(f"  cpu: {reached:.0f} GFLOP/s; a large matrix product: {_ceiling() / 1e9:.0f} GFLOP/s")
    forward = {"cpu": lambda: ours("cpu"), "torch": lambda: ours("torch"), "transformers": theirs}
    with torch.no_grad():
        show("  the same, forward alone", best_of(forward), batch * length, "tokens")


@pytest.mark.parametrize("shape", ATTENTIONS)
@pytest.mark.parametrize("documents", [0, 7])
def bench_attention(shape: tuple[int, ...], documents: int) -> None:
    """Beside torch's scaled_dot_product_attention, for documents with a mask, whose making is not counted."""
    _threads()
    batch, heads, kv_heads, length, head_dim = shape
    q, k, v = (
        _normal(batch, length, count * head_dim, seed=seed, grad=False).unflatten(-1, (count, head_dim)).transpose(1, 2)
        for seed, count in enumerate((heads, kv_heads, kv_heads))
    )
    grad = _normal(batch, length, heads, head_dim, seed=3, grad=False).transpose(1, 2)
    inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
    seq_idx = (torch.arange(length) * documents // length).expand(batch, length) if documents else None
    mask = None if seq_idx is None else visible(length, seq_idx)

    def forward(backend: str) -> Tensor:
        return attention(*inputs, seq_idx_BT=seq_idx, mask_B1LT=mask, backend=backend)

    names = ("cpu", "torch")
    steps = {name: lambda name=name: torch.autograd.grad(forward(name), inputs, grad) for name in names}
    seconds = best_of(steps)
    of = f"{documents} documents a row" if documents else "causal"
    title = f"attention forward and backward (b, h, k, l, e) = {shape}, {of}; bar 2x"
    show(title, seconds, batch * length, "tokens")
    if seq_idx is None:
        reached = 7 * batch * heads * length * (length + 1) * head_dim / seconds["cpu"] / 1e9
        print(f"  cpu: {reached:.0f} GFLOP/s; a large matrix product: {_ceiling() / 1e9:.0f} GFLOP/s")
    with torch.no_grad():
        alone = {name: lambda name=name: forward(name) for name in names}
        show("  the same, forward alone", best_of(alone), batch * length, "tokens")


def bench_convolution_and_norm() -> None:
    _threads()
    batch, length, channels = 4, 512, 1152
    x, weight, bias = _normal(batch, length, channels), _normal(channels, 4), _normal(channels)

    def theirs() -> Tensor:
        from transformers.models.nemotron_h.modeling_nemotron_h import causal_conv1d_fn

        y: Any = causal_conv1d_fn(x.transpose(1, 2), weight, bias, activation="silu")
        return y.transpose(1, 2)

    def step(y: Tensor, *inputs: Tensor) -> None:
        torch.autograd.grad(y.sum(), inputs)

    seconds = best_of(
        {
            "cpu": lambda: step(causal_conv1d(x, weight, bias, backend="cpu")[0], x, weight, bias),
            "torch": lambda: step(causal_conv1d(x, weight, bias, backend="torch")[0], x, weight, bias),
            "transformers": lambda: step(theirs(), x, weight, bias),
        }
    )
    show("causal convolution and SiLU, forward and backward", seconds, batch * length, "tokens")
    gate, scale = _normal(batch, length, channels, seed=1), _normal(channels, seed=2)

    def norm(backend: str) -> Tensor:
        return gated_rms_norm(x, gate, scale, group_size=channels // 2, eps=1e-5, backend=backend)

    seconds = best_of({name: (lambda name=name: step(norm(name), x, gate, scale)) for name in ("cpu", "torch")})
    show("gated RMS norm, forward and backward", seconds, batch * length, "tokens")


def _pair(folder: Path) -> tuple[HybridLM, Any]:
    from transformers import NemotronHForCausalLM

    ours = HybridLM.create(HYBRID, seed=0)
    save_checkpoint(ours, folder)
    return ours, NemotronHForCausalLM.from_pretrained(folder, dtype=torch.float32)


def bench_training_step(tmp_path: Path) -> None:
    """Forward and backward of the whole network, loss included."""
    _threads()
    ours, theirs = _pair(tmp_path)
    batch, length = 8, 256
    ids = torch.randint(HYBRID.vocab_size, (batch, length), generator=torch.Generator().manual_seed(0))

    def step_ours() -> None:
        hidden = ours.hidden_states(ids)[:, :-1].flatten(0, 1)
        loss, count = linear_cross_entropy(hidden, ours.lm_head.weight, ids[:, 1:].flatten())
        (loss / count).backward()
        ours.zero_grad()

    def step_theirs() -> None:
        theirs(ids, labels=ids, use_cache=False).loss.backward()
        theirs.zero_grad()

    seconds = best_of({"stillhouse": step_ours, "transformers": step_theirs}, repeats=20)
    parameters = HYBRID.num_params() / 1e6
    show(f"training step of a hybrid of {parameters:.1f} M parameters; bar 2.5x", seconds, batch * length, "tokens")
    flops = HYBRID.training_flops_per_token(length) * batch * length
    reached, ceiling = flops / seconds["stillhouse"] / 1e9, _ceiling() / 1e9
    print(f"  stillhouse: {reached:.0f} GFLOP/s; a large matrix product: {ceiling:.0f} GFLOP/s")


def bench_compiled_step() -> None:
    """A training step with torch.compile, which takes torch's forms of the kernels, and without."""
    _threads()
    batch, length = 8, 256
    ids = torch.randint(HYBRID.vocab_size, (batch, length), generator=torch.Generator().manual_seed(0))
    compiled, plain = (HybridLM.create(HYBRID, seed=0) for _ in range(2))

    def step(model: HybridLM) -> None:
        hidden = model.hidden_states(ids)[:, :-1].flatten(0, 1)
        linear_cross_entropy(hidden, model.lm_head.weight, ids[:, 1:].flatten())[0].backward()
        model.zero_grad()

    with compiled_layers([compiled]):
        start = time.perf_counter()
        step(compiled)
        print(f"\n  compiled in {time.perf_counter() - start:.0f} s")
        seconds = best_of({"compiled": lambda: step(compiled), "as it is": lambda: step(plain)})
    show(f"training step of {HYBRID.num_params() / 1e6:.1f} M parameters", seconds, batch * length, "tokens")


def bench_decoding(tmp_path: Path) -> None:
    """Whole calls of `generate`, the prompt included, and single steps against a mere reading of the weights."""
    _threads()
    ours, theirs = _pair(tmp_path)
    embeddings = ours.backbone.embeddings.weight
    weights = torch.cat([p.detach().flatten() for p in ours.parameters() if p is not embeddings])
    for batch in (1, 8):
        prompt = torch.randint(HYBRID.vocab_size, (batch, 64), generator=torch.Generator().manual_seed(0))
        options = {"max_new_tokens": 64, "min_new_tokens": 64, "do_sample": False, "pad_token_id": 1}
        contenders = {
            "stillhouse": lambda prompt=prompt: generate(ours, prompt, max_new_tokens=64, eos_token_id=None),
            "transformers": lambda prompt=prompt, options=options: theirs.generate(prompt, **options),
        }
        title = f"greedy decoding with a cache, batch {batch}, {HYBRID.num_params() / 1e6:.1f} M parameters; bar 5x"
        show(title, best_of(contenders, repeats=3), batch * 64, "tokens")
        state = prefill(ours, prompt, room=1000)
        steps = {
            "step": lambda state=state, token=prompt[:, 0]: state.advance(ours, token),
            "read": lambda: weights.dot(weights),
        }
        seconds = best_of(steps, repeats=200)
        print(
            f"  a step takes {1e3 * seconds['step']:.2f} ms, to read its weights ({weights.nbytes / 1e6:.0f} MB at "
            f"{weights.nbytes / seconds['read'] / 1e9:.0f} GB/s) {1e3 * seconds['read']:.2f} ms: "
            f"{100 * seconds['read'] / seconds['step']:.0f} % of what memory allows"
        )
