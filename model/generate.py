"""Text generation with a cache: greedy, or sampled with temperature, top-k and top-p.

Shape suffixes: B batch, L prompt length, V vocabulary.
"""

import torch
from torch import Tensor

from model.cache import DecodeCache
from model.hybrid import HybridLM


@torch.no_grad()
def generate(
    model: HybridLM,
    prompt_BL: Tensor,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    eos_token_id: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Continue prompts of equal length; returns prompts and continuations, at most L + max_new_tokens long.

    Temperature 0 takes the likeliest token. A row that has produced `eos_token_id` (none by default) goes on
    with the padding token; generation ends when every row has. Raises ValueError for a setting out of range.
    """
    if prompt_BL.ndim != 2 or prompt_BL.shape[1] < 1:
        raise ValueError(f"prompt_BL must have shape (batch, length >= 1), got {tuple(prompt_BL.shape)}")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be positive, got {max_new_tokens}")
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be positive, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    batch, length = prompt_BL.shape
    weight = model.lm_head.weight
    cache = DecodeCache.empty(
        model.config, batch, max_length=length + max_new_tokens, dtype=weight.dtype, device=weight.device
    )
    padding = model.config.pad_token_id if model.config.pad_token_id is not None else eos_token_id
    finished_B = torch.zeros(batch, dtype=torch.bool, device=prompt_BL.device)
    tokens_BL = new_BL = prompt_BL
    for _ in range(max_new_tokens):
        logits_BV = model.lm_head(model.hidden_states(new_BL, cache=cache)[:, -1]).float()
        next_B = sample(logits_BV, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        if eos_token_id is not None and padding is not None:
            next_B = torch.where(finished_B, padding, next_B)
            finished_B |= next_B == eos_token_id
        new_BL = next_B[:, None]
        tokens_BL = torch.cat([tokens_BL, new_BL], dim=1)
        if bool(finished_B.all()):
            break
    return tokens_BL


def sample(
    logits_BV: Tensor,
    *,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token_B per row: the likeliest at temperature 0, else drawn from softmax(logits / temperature) cut to
    the `top_k` likeliest and then to the fewest whose probability reaches `top_p`."""
    if temperature == 0:
        return logits_BV.argmax(-1)
    sorted_BV, order_BV = (logits_BV / temperature).sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        sorted_BV[:, top_k:] = -torch.inf
    probs_BV = sorted_BV.softmax(-1)
    if top_p is not None:
        before_BV = probs_BV.cumsum(-1) - probs_BV
        probs_BV = probs_BV.masked_fill(before_BV >= top_p, 0.0)
    choice_B1 = torch.multinomial(probs_BV, 1, generator=generator)
    return order_BV.gather(1, choice_B1).squeeze(1)
