"""What a training run takes before it begins: steps, FLOPs, and the memory of each process by structural count.

Weights, gradients and moments are exact, to the byte. Activations are what autograd keeps of one micro-batch, counted
layer by layer from the shapes of the tensors that the backward pass reads; an allocator's waste is left out.
"""

from dataclasses import dataclass, replace
from math import prod

import torch

from kernels.loss_chunks import CHUNK_LOGITS
from model.config import HybridConfig
from model.hybrid import HybridLM
from ops.errors import InputError
from ops.stage import Parallel
from ops.train.config import RunConfig, TrainConfig

FLOAT32 = 4
MOMENTS = 2


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one process, the one with the largest share."""

    weights: int
    gradients: int
    moments: int
    gathered: int
    """What is whole for a while: two layers with their gradients, and all that is no layer (sharded); the buckets in
    which gradients travel (else, with more than one process)."""

    activations: int
    logits: int
    """Of a chunk of tokens, with their gradient, and the output projection's gradient, which chunks add to."""

    @property
    def state(self) -> int:
        """What lasts from step to step, gradients included."""
        return self.weights + self.gradients + self.moments

    @property
    def total(self) -> int:
        return self.state + self.gathered + self.activations + self.logits


def memory(config: RunConfig, model: HybridConfig, *, parallel: Parallel, processes: int) -> Memory:
    """The memory of each of `processes` processes.

    Raises:
        InputError: when the batch does not divide among them.
    """
    if processes < 1 or config.batch_size % processes:
        raise InputError(f"batch_size {config.batch_size} does not divide among {processes} processes")
    rows = min(config.micro_batch_size or config.batch_size, config.batch_size // processes)
    with torch.device("meta"):
        network = HybridLM(model)
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    buffers = FLOAT32 * sum(buffer.numel() for buffer in network.buffers())
    sharded = parallel == "fsdp" and processes > 1
    shards = processes if sharded else 1
    held = FLOAT32 * sum(-(-s[0] // shards) * prod(s[1:]) for s in shapes.values())
    whole = FLOAT32 * sum(map(prod, shapes.values()))
    gathered = 0
    if sharded:
        layers = [FLOAT32 * model.layer_params(letter) for letter in model.pattern]
        gathered = 2 * (2 * max(layers) + whole - sum(layers))
    elif processes > 1:
        gathered = whole
    tokens = rows * config.seq_len
    chunk = min(CHUNK_LOGITS, tokens * model.vocab_size)
    return Memory(
        weights=held + buffers,
        gradients=held,
        moments=MOMENTS * held,
        gathered=gathered,
        activations=activation_bytes(config, model, tokens=tokens),
        logits=FLOAT32 * (2 * chunk + model.vocab_size * model.d_model),
    )


def activation_bytes(config: RunConfig, model: HybridConfig, *, tokens: int) -> int:
    """Bytes that a forward pass over so many tokens keeps for the backward pass: all layers' inner values, or with
    activation checkpointing each layer's input and the inner values of the one that is at work."""
    inner = [_kept(letter, model, half=config.precision == "bfloat16") for letter in model.pattern]
    stream = FLOAT32 * model.d_model
    last = 2 * stream  # the input of the last norm, and its output, which the losses read
    if config.activation_checkpointing:
        return tokens * (stream * len(inner) + max(inner) + last)
    return tokens * (sum(inner) + last)


def _kept(letter: str, model: HybridConfig, *, half: bool) -> int:
    """Bytes a token that one layer keeps: the residual stream in float32, and what its products read or make."""
    d, narrow = model.d_model, 2 if half else FLOAT32
    if letter == "M":
        # Read by in_proj; its output, read by convolution and gate; that of the convolution, read by the scan; that of
        # the scan, read by the gated norm; that of the norm, read by out_proj; the states between chunks, in float32.
        products = d + model.in_proj_dim + model.conv_dim + 2 * model.d_inner
        products += model.d_inner * model.ssm_state_size * FLOAT32 // (model.chunk_size * narrow)
    elif letter == "*":
        # Queries, keys, values, the output, and a normaliser of each head in float32.
        heads = 2 * model.num_attention_heads + 2 * model.num_key_value_heads
        products = d + heads * model.head_dim + model.num_attention_heads * FLOAT32 // narrow
    elif letter == "-":
        products = d + model.intermediate_size
    else:
        chosen = model.num_experts_per_tok * (2 * model.expert_dim + 2 * model.moe_intermediate_size)
        products = d + model.n_routed_experts + chosen + model.moe_shared_expert_intermediate_size
        products += model.moe_latent_size or 0
    norms = FLOAT32 * d * (2 if model.output_norm else 1)
    return norms + narrow * products


def describe(config: TrainConfig, *, processes: int) -> str:
    """The plan of a pretraining run as text.

    Raises:
        InputError: when the batch does not divide among the processes.
    """
    model, tokens = config.model, config.num_steps * config.tokens_per_step
    depths = config.mtp_depths if model.num_nextn_predict_layers else 0
    flops = float(tokens) * model.training_flops_per_token(config.seq_len, mtp_depths=depths)
    lines = [
        f"{model.num_params():,} parameters, {model.num_active_params():,} of them for each token",
        f"{config.num_steps:,} steps of {config.tokens_per_step:,} tokens, {tokens:,} in all; {flops:.3g} FLOPs",
        "",
        *render(config, model, processes=processes),
    ]
    return "\n".join(lines)


def render(config: RunConfig, model: HybridConfig, *, processes: int) -> list[str]:
    """Lines for people: memory of a process, for both ways to share a run and with and without checkpointing."""
    lines = [
        f"{'memory of each of ' + str(processes):<26}{'state':>13}{'gathered':>13}{'activations':>13}{'in all':>13}"
    ]
    for parallel in ("ddp", "fsdp"):
        for checkpointing in (False, True):
            this = replace(config, activation_checkpointing=checkpointing)
            found = memory(this, model, parallel=parallel, processes=processes)
            cells = (found.state, found.gathered, found.activations + found.logits, found.total)
            name = f"{parallel}{', checkpointing' if checkpointing else ''}"
            lines.append(f"{name:<26}" + "".join(f"{gb(cell):>13}" for cell in cells))
    return lines


def gb(value: int) -> str:
    """Gigabytes, or terabytes or megabytes where they are many or few."""
    if value >= 1e12:
        return f"{value / 1e12:.2f} TB"
    return f"{value / 1e9:.2f} GB" if value >= 1e8 else f"{value / 1e6:.2f} MB"
