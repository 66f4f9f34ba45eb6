"""Loss, perplexity and bits per byte on the validation split, in all and by source.

Rows are filled with whole documents end to end, so a document that crosses the end of a row goes on without its
beginning; its first token is predicted by nothing and does not count. The bits of an end of document count, it has no
bytes.

Shape suffixes: B rows, L positions, T labelled tokens, D model width.
"""

import math
from collections import defaultdict
from typing import Any

import numpy as np
import torch

from kernels.linear_loss import linear_token_losses
from model.hybrid import HybridLM
from ops.data import Batch, TokenData
from ops.data.batch import IGNORED
from ops.progress import track


@torch.no_grad()
def validation_scores(
    model: HybridLM,
    data: TokenData,
    *,
    token_bytes: np.ndarray,
    source_of: dict[str, str],
    batch_size: int,
    seq_len: int,
    max_tokens: int | None,
    max_sources: int,
) -> dict[str, Any]:
    """`tokens`, `bytes`, `loss` (nats a token), `perplexity` and `bits_per_byte`, and the same of the largest
    `sources`. `token_bytes`: bytes of text of every token; `source_of`: the source of every validation document."""
    device = model.lm_head.weight.device
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))  # tokens, bytes, nats
    total = data.num_tokens("validation")
    rows = math.ceil((total if max_tokens is None else min(total, max_tokens)) / seq_len)
    batches = data.validation_batches(batch_size=batch_size, seq_len=seq_len, max_tokens=max_tokens)
    for batch in track(batches, description="validation", total=math.ceil(rows / batch_size), unit="batch"):
        counted = batch.labels != IGNORED
        labels = batch.labels[counted]
        input_ids_BL, seq_idx_BL = (torch.from_numpy(array).to(device) for array in (batch.input_ids, batch.seq_idx))
        hidden_BLD = model.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL)
        hidden_TD = hidden_BLD[torch.from_numpy(counted).to(device)]
        labels_T = torch.from_numpy(labels).to(device)
        cap = model.config.final_logit_softcapping
        nats = linear_token_losses(hidden_TD, model.lm_head.weight, labels_T, cap=cap).double().cpu().numpy()
        values = np.stack([np.ones(len(labels)), token_bytes[labels], nats], axis=1)
        for source, chosen in _by_source(batch, counted, source_of).items():
            sums[source] += values[chosen].sum(0)
    largest = sorted(sums, key=lambda source: (-sums[source][0], source))[:max_sources]
    everything = sum((sums[source] for source in sorted(sums)), np.zeros(3))
    return {**_rates(everything), "sources": {source: _rates(sums[source]) for source in sorted(largest)}}


def _by_source(batch: Batch, counted: np.ndarray, source_of: dict[str, str]) -> dict[str, np.ndarray]:
    """Source -> mask over the labelled tokens of the batch."""
    names = sorted({source_of[name] for row in batch.doc_ids for name in row})
    number = {name: index for index, name in enumerate(names)}
    numbers = np.full(batch.labels.shape, -1)
    for row, documents in enumerate(batch.doc_ids):
        of_document = np.array([*(number[source_of[name]] for name in documents), -1])  # -1: padding
        numbers[row] = of_document[batch.seq_idx[row]]
    return {name: numbers[counted] == index for name, index in number.items()}


def _rates(sums: np.ndarray) -> dict[str, Any]:
    tokens, size, nats = (float(value) for value in sums)
    loss = nats / tokens if tokens else None
    return {
        "tokens": int(tokens),
        "bytes": int(size),
        "loss": loss,
        "perplexity": None if loss is None else math.exp(loss) if loss < 709 else math.inf,
        "bits_per_byte": nats / (size * math.log(2)) if size else None,
    }
