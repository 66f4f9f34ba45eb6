"""The laboratory: teachers, held-out text, short runs whose results are kept as they come.

Everything that is measured is written below `trials/` when it is there, so that a killed stage goes on from the next
measurement. Losses are in nats per token, on the same held-out rows throughout.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from kernels.linear_loss import linear_token_losses
from model.config import HybridConfig
from model.hybrid import HybridLM
from ops.atomic import read_json, write_json
from ops.data import Batch, TokenData
from ops.data.batch import IGNORED
from ops.distill.config import DistillConfig, LossConfig
from ops.distill.objective import Distillation
from ops.errors import InputError
from ops.evidence.config import EvidenceConfig
from ops.evidence.teachers.run import importance_folder, teacher_folder
from ops.importance.scores import Importance
from ops.train.config import AdamWConfig, WSDConfig
from ops.train.objective import CrossEntropy, Objective, loss_precision
from ops.train.optimizer import AdamW
from ops.train.result import load_model
from ops.train.schedule import learning_rate

TRIALS = "trials"
WARMUP = 10


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Held-out loss after so many steps; step 0 is before training."""

    losses: Mapping[int, float]

    @property
    def first(self) -> float:
        return self.losses[0]

    @property
    def last(self) -> float:
        return self.losses[max(self.losses)]


class Lab:
    """Where the arms of a claim are made and measured.

    Attributes:
        tokens: trained or evaluated so far, kept results included.
        flops: the same in floating-point operations, by structural count.
    """

    def __init__(self, config: EvidenceConfig, data: TokenData, teachers: Path, out: Path, device: str) -> None:
        self.config = config
        self.data = data
        self.tokens = 0
        self.flops = 0.0
        self._device = torch.device(device)
        self._out = out / TRIALS
        self._folder = teachers
        self._held_out: list[Batch] = list(
            data.validation_batches(
                batch_size=config.teachers.batch_size,
                seq_len=config.teachers.seq_len,
                max_tokens=config.held_out_sequences * config.teachers.seq_len,
            )
        )
        self.held_out_tokens = sum(int((batch.labels != IGNORED).sum()) for batch in self._held_out)
        self.teacher = lru_cache(maxsize=2)(self._load)
        self.importance = lru_cache(maxsize=None)(self._read_importance)

    def seed_of(self, replicate: int) -> int:
        """The seed of the teacher that a replicate is cut from."""
        return self.config.teachers.seeds[replicate % len(self.config.teachers.seeds)]

    def kept(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `measure` returns (JSON), measured once. What it cost is kept with it."""
        path = self._out / f"{name}.json"
        if not path.exists():
            tokens, flops = self.tokens, self.flops
            found = measure()
            cost = {"tokens": self.tokens - tokens, "flops": self.flops - flops}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"cost": cost, "found": found})
            self.tokens, self.flops = tokens, flops
        kept = read_json(path)
        self.tokens += kept["cost"]["tokens"]
        self.flops += kept["cost"]["flops"]
        return kept["found"]

    @torch.no_grad()
    def loss(self, model: HybridLM) -> float:
        """Mean loss on the held-out text."""
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for batch in self._held_out:
            ids_BL, labels_BL, seq_idx_BL = self._tensors(batch)
            hidden_TD = model.hidden_states(ids_BL, seq_idx_BL=seq_idx_BL).flatten(0, 1)
            labels_T = labels_BL.flatten()
            counted_T = labels_T != IGNORED
            with loss_precision():
                losses_T = linear_token_losses(
                    hidden_TD[counted_T],
                    model.lm_head.weight,
                    labels_T[counted_T],
                    cap=model.config.final_logit_softcapping,
                )
            total += losses_T.double().sum()
        self._spend(self.held_out_tokens, model.config.flops_per_token(self.config.teachers.seq_len))
        return float(total) / self.held_out_tokens

    def train(
        self,
        name: str,
        replicate: int,
        make: Callable[[], tuple[HybridLM, HybridLM | None]],
        *,
        lr: float,
        loss: LossConfig | None = None,
        phase: int = 1,
        marks: Sequence[int] | None = None,
    ) -> Curve:
        """Train an arm and measure it at `marks` (those of the config if None).

        `make` returns the network and its teacher; without a `loss` it learns from the labels alone.
        """
        wanted = self.config.marks if marks is None else tuple(marks)

        def measure() -> dict[str, Any]:
            model, teacher = make()
            objective: Objective
            extra = 0.0
            if loss is None:
                objective = CrossEntropy(model)
            else:
                if teacher is None:
                    raise InputError(f"{name}: a loss to a teacher, and no teacher")
                teacher.requires_grad_(False)
                objective = Distillation(model, teacher, DistillConfig(loss=loss, total_tokens=10**9))
                extra = teacher.config.flops_per_token(self.config.teachers.seq_len)
            losses = {0: self.loss(model)}
            for step in self.steps(objective, num_steps=max(wanted), lr=lr, seed=replicate, phase=phase, extra=extra):
                if step in wanted:
                    losses[step] = self.loss(model)
            return {"losses": {str(step): value for step, value in losses.items()}}

        found = self.kept(f"{name}-{replicate}", measure)
        return Curve(losses={int(step): value for step, value in found["losses"].items()})

    def steps(self, objective: Objective, *, num_steps: int, lr: float, seed: int, phase: int, extra: float = 0.0):
        """Train the objective's model; yields the number of updates after each. A cosine down to 1 % of `lr` behind a
        short warm-up; batches are a function of (seed, step)."""
        model, config = objective.model, self.config
        optimizer = AdamW(model, AdamWConfig(peak_lr=lr))
        schedule = WSDConfig(warmup_steps=min(WARMUP, num_steps // 4), decay_fraction=1.0, decay_shape="cosine")
        per_token = model.config.training_flops_per_token(config.teachers.seq_len) + extra
        for step in range(num_steps):
            batch = self.data.batch(
                phase=phase,
                step=step,
                batch_size=config.teachers.batch_size,
                seq_len=config.teachers.seq_len,
                seed=seed,
            )
            ids_BL, labels_BL, seq_idx_BL = self._tensors(batch)
            total, _ = objective(ids_BL, labels_BL, seq_idx_BL)
            optimizer.clear_gradients()
            (total / int((labels_BL != IGNORED).sum())).backward()
            clip_grad_norm_(model.parameters(), optimizer.config.clip_norm, error_if_nonfinite=True)
            optimizer.update(learning_rate(optimizer.config, schedule, step=step, num_steps=num_steps))
            self._spend(config.teachers.batch_size * config.teachers.seq_len, per_token)
            yield step + 1

    def scratch(self, target: HybridConfig, replicate: int) -> HybridLM:
        """A network of this shape that has learned nothing; initial weights by replicate."""
        return HybridLM.create(target, seed=1_000_000 + replicate, device=self._device)

    def _spend(self, tokens: int, flops_per_token: float) -> None:
        self.tokens += tokens
        self.flops += tokens * flops_per_token

    def _tensors(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ids_BL, labels_BL, seq_idx_BL = (
            torch.from_numpy(array).to(self._device) for array in (batch.input_ids, batch.labels, batch.seq_idx)
        )
        return ids_BL, labels_BL, seq_idx_BL

    def _load(self, seed: int) -> HybridLM:
        return load_model(teacher_folder(self._folder, seed), self._device).eval()

    def _read_importance(self, seed: int) -> Importance:
        return Importance.read(importance_folder(self._folder, seed), self.config.model)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)
