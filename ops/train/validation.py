"""Loss and bits per byte on held-out text, whole and by source.

Shape suffixes: T labelled tokens, D model width.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch

from kernels.linear_loss import linear_kl, linear_token_losses
from model.hybrid import HybridLM
from ops.data import Batch, TokenData
from ops.data.batch import IGNORED
from ops.data.index import INDEX
from ops.data.token_data import MANIFEST
from ops.train.distributed import World
from ops.train.objective import loss_precision

MAX_SOURCES = 16
Measured = dict[str, float | dict[str, dict[str, float]]]


class Validation:
    """A fixed sample of the validation split. Each process takes its share of the batches."""

    def __init__(
        self,
        data: TokenData,
        training_set: Path,
        *,
        token_bytes: np.ndarray,
        num_sequences: int,
        batch_size: int,
        seq_len: int,
        world: World,
    ) -> None:
        batches = data.validation_batches(batch_size=batch_size, seq_len=seq_len, max_tokens=num_sequences * seq_len)
        self._batches: list[Batch] = list(batches)
        self._token_bytes = token_bytes
        self._world = world
        source_of = document_sources(training_set)
        self.sources = sorted({source_of[name] for batch in self._batches for row in batch.doc_ids for name in row})
        number = {source: index for index, source in enumerate(self.sources)}
        self._source_numbers = [
            np.concatenate([_sources_of_row(batch, row, source_of, number) for row in range(len(batch.doc_ids))])
            for batch in self._batches
        ]

    def _own(self) -> range:
        """Numbers of this process's batches. Processes that gather weights together go through equally many: a number
        behind the last stands for a batch of which nothing counts."""
        size, count = self._world.size, len(self._batches)
        end = -(-count // size) * size if self._world.sharded else count
        return range(self._world.rank, end, size)

    def unigram_loss(self) -> float:
        """Entropy of the labels' own distribution in nats: no model that ignores context can do better here."""
        labels = np.concatenate([batch.labels[batch.labels != IGNORED] for batch in self._batches])
        shares = np.bincount(labels)[np.unique(labels)] / len(labels)
        return float(-(shares * np.log(shares)).sum())

    @torch.no_grad()
    def measure(self, model: HybridLM, *, teacher: HybridLM | None = None, temperature: float = 1.0) -> Measured:
        """`loss` (nats a token) and `bits_per_byte` of the text, the same in `sources` for the largest of them, and
        `kl` from the teacher if there is one. The bits of an end of document count, it has no bytes."""
        device = self._world.device
        sums = torch.zeros(3, len(self.sources), dtype=torch.float64, device=device)  # nats, tokens, bytes
        kl = torch.zeros((), dtype=torch.float64, device=device)
        for index in self._own():
            live = index < len(self._batches)
            batch = self._batches[index if live else 0]
            counted = torch.from_numpy((batch.labels != IGNORED).ravel() & live).to(device)
            input_ids_BL, seq_idx_BL = (torch.from_numpy(a).to(device) for a in (batch.input_ids, batch.seq_idx))
            labels_T = torch.from_numpy(batch.labels.ravel()).to(device)[counted]
            hidden_TD = model.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL).flatten(0, 1)[counted]
            with loss_precision():
                losses_T = linear_token_losses(hidden_TD, model.lm_head.weight, labels_T, cap=_cap(model)).double()
            source_T = torch.from_numpy(self._source_numbers[index if live else 0]).to(device)[counted]
            bytes_T = torch.from_numpy(self._token_bytes).to(device)[labels_T].double()
            for row, values_T in enumerate((losses_T, torch.ones_like(losses_T), bytes_T)):
                sums[row].index_add_(0, source_T, values_T)
            if teacher is not None:
                teacher_TD = teacher.hidden_states(input_ids_BL, seq_idx_BL=seq_idx_BL).flatten(0, 1)[counted]
                weights = model.lm_head.weight, teacher.lm_head.weight
                with loss_precision():
                    total, _ = linear_kl(
                        hidden_TD,
                        weights[0],
                        teacher_TD,
                        weights[1],
                        temperature=temperature,
                        cap=_cap(model),
                        teacher_cap=_cap(teacher),
                    )
                kl += total.double()
        self._world.sum(sums)
        self._world.sum(kl)
        nats, tokens, size = sums.cpu().numpy()
        largest = sorted(range(len(self.sources)), key=lambda i: (-tokens[i], self.sources[i]))[:MAX_SOURCES]
        measured: Measured = {
            **_rates(nats.sum(), tokens.sum(), size.sum()),
            "sources": {
                self.sources[i]: _rates(nats[i], tokens[i], size[i])
                for i in sorted(largest, key=lambda i: self.sources[i])
                if size[i] > 0
            },
        }
        if teacher is not None:
            measured["kl"] = float(kl) / float(tokens.sum())
        return measured


def _cap(model: HybridLM) -> float | None:
    return model.config.final_logit_softcapping


def _rates(nats: float, tokens: float, size: float) -> dict[str, float]:
    return {"loss": float(nats / tokens), "bits_per_byte": float(nats / (size * math.log(2)))}


def document_sources(training_set: Path) -> dict[str, str]:
    """doc_id -> source of every validation document."""
    index = np.load(training_set / INDEX, allow_pickle=False)
    names = json.loads((training_set / MANIFEST).read_bytes())["sources"]
    chosen = index[index["split"] == 1]
    return {row["doc_id"].decode(): names[row["source"]] for row in chosen}


def _sources_of_row(batch: Batch, row: int, source_of: dict[str, str], number: dict[str, int]) -> np.ndarray:
    """The source number of every position of a row; padding gets 0, it has no label."""
    of_document = np.array([*(number[source_of[name]] for name in batch.doc_ids[row]), 0], dtype=np.int64)
    return of_document[batch.seq_idx[row]]
