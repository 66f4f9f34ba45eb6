"""Text generation: prefill, then a state of constant size per Mamba-2 layer (and keys and values) token by token.

Shape suffixes: B batch, L prompt length, V vocabulary.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.cache import DecodeCache
from model.config import HybridConfig
from model.decode_plan import Declined, decode_plan
from model.hf_config import to_hf
from model.hybrid import HybridLM

FORMAT = "stillhouse decode state 1"


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is drawn. Temperature 0 takes the likeliest, others draw from softmax(logits / temperature) cut to
    the `top_k` likeliest and then to the fewest whose probability reaches `top_p`.

    The draw of a token is a function of `seed`, the row's stream number and the token's position, and of nothing else:
    neither of the other rows of a batch, nor of whether the state was saved in between. Raises ValueError that names
    the field.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must not be negative, nor infinite, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be positive, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be in [0, 2**64), got {self.seed}")


GREEDY = Sampling()


@dataclass
class DecodeState:
    """Where a batch of sequences stands: what the layers remember, and the logits_BV of the next token."""

    cache: DecodeCache
    logits_BV: Tensor

    @property
    def positions(self) -> list[int]:
        """Tokens of each row so far, padding not counted."""
        return (self.cache.length - self.cache.padding_B).tolist()

    @torch.no_grad()
    def advance(self, model: HybridLM, token_B: Tensor) -> None:
        """Take one more token into every row: by one call for the whole network where model.decode_plan has a plan,
        layer by layer elsewhere. Raises IndexError or ValueError for a token outside of the vocabulary."""
        plan = decode_plan(model)
        if isinstance(plan, Declined):
            self.logits_BV = _next_logits(model.hidden_states(token_B[:, None], cache=self.cache), model)
        else:
            self.logits_BV = plan.advance(self.cache, token_B).float()

    def rows(self, indices: Sequence[int]) -> "DecodeState":
        """A state of its own with these rows; a row may be taken more than once, to continue it in several ways."""
        index_B = torch.tensor(indices, dtype=torch.long, device=self.logits_BV.device)
        return DecodeState(self.cache.rows(index_B), self.logits_BV[index_B])

    def fork(self, copies: int) -> "DecodeState":
        """Every row `copies` times, copies of a row next to one another."""
        return self.rows([row for row in range(len(self.logits_BV)) for _ in range(copies)])

    @classmethod
    def stack(cls, states: "Sequence[DecodeState]") -> "DecodeState":
        """One batch of all rows of states of one network, whatever their lengths."""
        caches, logits = [state.cache for state in states], [state.logits_BV for state in states]
        return cls(DecodeCache.stack(caches), torch.cat(logits))

    def save(self, path: Path | str, config: HybridConfig) -> None:
        """Write the state as safetensors, whole or not at all; `config` is that of the network."""
        path = Path(path)
        tensors = {**self.cache.tensors(), "logits_BV": self.logits_BV}
        metadata = {
            "format": FORMAT,
            "network": _network(config),
            "batch": str(len(self.logits_BV)),
            "length": str(self.cache.length),
        }
        partial = path.with_name(f".{path.name}.tmp")
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, partial, metadata=metadata)
        partial.chmod(0o644)  # safetensors leaves it readable by its owner alone
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path | str, config: HybridConfig, *, device: torch.device | str = "cpu") -> "DecodeState":
        """Read a state of a network with this configuration; whether the weights are the same is not checked.

        Raises FileNotFoundError, and ValueError that names the file if it is damaged or of another network.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing")
        try:
            with safe_open(path, framework="pt", device=str(device)) as handle:
                metadata = handle.metadata() or {}
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path}: damaged or not a safetensors file: {error}") from error
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path}: is not a state of generation ({FORMAT!r})")
        if metadata["network"] != _network(config):
            raise ValueError(f"{path}: is the state of a network with another configuration")
        batch, length = int(metadata["batch"]), int(metadata["length"])
        logits_BV = tensors.pop("logits_BV")
        try:
            cache = DecodeCache.from_tensors(config, tensors, batch=batch, length=length)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return cls(cache, logits_BV)


def _network(config: HybridConfig) -> str:
    return hashlib.sha256(json.dumps(to_hf(config), sort_keys=True).encode()).hexdigest()


def _next_logits(hidden_BLD: Tensor, model: HybridLM) -> Tensor:
    return model.logits(hidden_BLD[:, -1]).float()


@torch.no_grad()
def prefill(
    model: HybridLM, prompt_BL: Tensor, *, attention_mask_BL: Tensor | None = None, room: int = 256
) -> DecodeState:
    """Read prompts; `attention_mask_BL` is 0 for padding on the left of shorter ones. Memory is reserved for `room`
    further tokens, and grows behind them.

    Raises ValueError for prompts without tokens or with a token outside of the vocabulary, and for a wrong mask.
    """
    if prompt_BL.ndim != 2 or prompt_BL.shape[1] < 1:
        raise ValueError(f"prompt_BL must have shape (batch, length >= 1), got {tuple(prompt_BL.shape)}")
    low, high = int(prompt_BL.min()), int(prompt_BL.max())
    if low < 0 or high >= model.config.vocab_size:
        raise ValueError(
            f"prompt_BL: token {low if low < 0 else high} is outside of the vocabulary of {model.config.vocab_size}"
        )
    batch, length = prompt_BL.shape
    weight = model.lm_head.weight
    cache = DecodeCache.empty(model.config, batch, max_length=length + room, dtype=weight.dtype, device=weight.device)
    hidden_BLD = model.hidden_states(prompt_BL, attention_mask_BL=attention_mask_BL, cache=cache)
    return DecodeState(cache, _next_logits(hidden_BLD, model))


def decode(
    model: HybridLM,
    state: DecodeState,
    *,
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    streams: Sequence[int] | None = None,
) -> Iterator[Tensor]:
    """Yield token_B after token_B, at most `max_new_tokens`; stop whenever you like.

    `streams` are the rows' numbers for drawing (their places in the batch if None). `state` moves along and holds, at
    each yield, all tokens but the one that is yielded. Raises ValueError for a setting out of range.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be positive, got {max_new_tokens}")
    streams = range(len(state.logits_BV)) if streams is None else streams
    if len(streams) != len(state.logits_BV):
        raise ValueError(f"streams: {len(streams)} numbers for {len(state.logits_BV)} rows")
    for left in reversed(range(max_new_tokens)):
        draws = None
        if sampling.temperature > 0:
            draws = [uniform(sampling.seed, *pair) for pair in zip(streams, state.positions, strict=True)]
        token_B = sample(state.logits_BV, sampling, draws)
        yield token_B
        if left:
            state.advance(model, token_B)


def generate(
    model: HybridLM,
    prompt_BL: Tensor,
    *,
    max_new_tokens: int,
    attention_mask_BL: Tensor | None = None,
    sampling: Sampling = GREEDY,
    streams: Sequence[int] | None = None,
    eos_token_id: int | None = None,
) -> Tensor:
    """Continue prompts; returns prompts and continuations, at most L + max_new_tokens long.

    A row that has produced `eos_token_id` (none by default) goes on with the padding token; generation ends when every
    row has. Raises ValueError as `prefill` and `decode`.
    """
    state = prefill(model, prompt_BL, attention_mask_BL=attention_mask_BL, room=max_new_tokens)
    padding = model.config.pad_token_id if model.config.pad_token_id is not None else eos_token_id
    finished_B = torch.zeros(len(prompt_BL), dtype=torch.bool, device=prompt_BL.device)
    columns = [prompt_BL]
    for token_B in decode(model, state, max_new_tokens=max_new_tokens, sampling=sampling, streams=streams):
        if eos_token_id is not None and padding is not None:
            token_B = torch.where(finished_B, padding, token_B)
            finished_B = finished_B | (token_B == eos_token_id)
        columns.append(token_B[:, None])
        if bool(finished_B.all()):
            break
    return torch.cat(columns, dim=1)


def uniform(seed: int, stream: int, position: int) -> float:
    """A number in [0, 1) that is a function of its arguments: 53 bits of their BLAKE2b hash."""
    digest = hashlib.blake2b(struct.pack("<QQQ", seed, stream, position), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def sample(logits_BV: Tensor, sampling: Sampling, draws: Sequence[float] | None = None) -> Tensor:
    """One token_B per row: the likeliest at temperature 0, else that in whose share of the distribution the row's
    number of `draws` (in [0, 1)) falls, likeliest first."""
    if sampling.temperature == 0:
        if logits_BV.device.type == "cpu":  # torch's own takes 15 times as long there
            return torch.from_numpy(logits_BV.detach().numpy().argmax(-1))
        return logits_BV.argmax(-1)
    assert draws is not None
    sorted_BV, order_BV = (logits_BV.double() / sampling.temperature).sort(dim=-1, descending=True, stable=True)
    if sampling.top_k is not None:
        sorted_BV[:, sampling.top_k :] = -torch.inf
    probs_BV = sorted_BV.softmax(-1)
    cumulative_BV = probs_BV.cumsum(-1)
    if sampling.top_p is not None:
        probs_BV = probs_BV.masked_fill(cumulative_BV - probs_BV >= sampling.top_p, 0.0)
        cumulative_BV = probs_BV.cumsum(-1)
    draw_B1 = torch.tensor(draws, dtype=torch.float64, device=logits_BV.device)[:, None] * cumulative_BV[:, -1:]
    choice_B1 = torch.searchsorted(cumulative_BV, draw_B1, right=True)
    last_B1 = (probs_BV > 0).sum(-1, keepdim=True) - 1  # a draw of almost 1 may round to the whole
    return order_BV.gather(1, choice_B1.minimum(last_B1)).squeeze(1)
