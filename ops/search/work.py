"""What a search has done for it: artefacts of its own in the store, each made once, whatever the budget.

| asset                       | stage              | of what                                      |
|-----------------------------|--------------------|----------------------------------------------|
| `candidate_score`           | ops.search.loss    | the loss of a candidate as it is cut         |
| `candidate_latency`         | ops.search.latency | decoding with a network of its shape, here   |
| `candidate_pruned`          | ops.prune          | a finalist's checkpoint                      |
| `candidate_distilled`       | ops.distill        | the same after a round of short distillation |
| `candidate_distilled_score` | ops.search.loss    | the loss of that                             |

A candidate's label is the partition.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ops.atomic import read_json
from ops.distill.config import DistillConfig
from ops.execute import Request, Stage, execute
from ops.search.config import SearchConfig
from ops.search.latency.config import LatencyConfig
from ops.search.latency.run import SPEED
from ops.search.loss.config import CandidateLossConfig
from ops.search.loss.run import SCORE
from ops.search.space import Candidate
from ops.search.stages import CANDIDATE_LOSS, DISTILL, LATENCY, PRUNE
from ops.stage import Execution, Inputs, many
from ops.store import Record, Store
from ops.store.adopt import adopt
from ops.store.record import RECORD_NAME

logger = logging.getLogger("stillhouse")


LATENCIES = "candidate_latency"
"""What is measured, not made: it depends on the machine."""


@dataclass(kw_only=True)
class Work:
    """Requests of one search, and the records that came of them."""

    store: Store
    config: SearchConfig
    execution: Execution
    inputs: Mapping[str, Sequence[Record]]
    cut_from: Literal["sorted_teacher", "teacher"]
    records: dict[str, Record] = field(default_factory=dict)
    """By path, in the order in which they were asked for."""

    made: list[str] = field(default_factory=list)
    """Paths of those that were not there before."""

    def loss(self, candidate: Candidate, student: Record | None = None) -> float:
        """Loss on the calibration text in nats a token: as it is cut, or of `student`, which it has become."""
        config = CandidateLossConfig(
            prune=candidate.prune if student is None else None,
            num_sequences=self.config.calibration_sequences,
            seq_len=self.config.seq_len,
            phase=self.config.distill.phase,
            seed=self.config.calibration_seed,
        )
        if student is None:
            asset, inputs = "candidate_score", self._of(self.cut_from, "importance", *DATA)
        else:
            asset, inputs = "candidate_distilled_score", {"candidate": [student], **self._of(*DATA)}
        record = self._do(asset, candidate, CANDIDATE_LOSS, config, inputs)
        return read_json(self.store.local_path(record) / SCORE)["loss"]

    def speed(self, candidate: Candidate) -> dict[str, Any]:
        """Measured speed of a network of its shape on this machine."""
        config = LatencyConfig(model=candidate.target, workload=self.config.budget.workload)
        record = self._do(LATENCIES, candidate, LATENCY, config, {})
        return read_json(self.store.local_path(record) / SPEED)

    def pruned(self, candidate: Candidate) -> Record:
        """Its checkpoint as cut."""
        inputs = self._of(self.cut_from, "importance", "tokenizer")
        return self._do("candidate_pruned", candidate, PRUNE, candidate.prune, inputs)

    def distilled(self, candidate: Candidate, student: Record, number: int) -> Record:
        """Its checkpoint after round `number`, which goes on from `student` with data that no round before has read."""
        first = self.config.distill
        config: DistillConfig = replace(first, total_tokens=first.total_tokens * 2**number, seed=first.seed + number)
        inputs = {"student": [student], **self._of("distillation_teacher", "tokenizer", *DATA)}
        inputs["teacher"] = inputs.pop("distillation_teacher")
        return self._do("candidate_distilled", candidate, DISTILL, config, inputs)

    def _of(self, *names: str) -> dict[str, Sequence[Record]]:
        return {name: self.inputs[name] for name in names}

    def _do(
        self, asset: str, candidate: Candidate, stage: Stage, config: Any, inputs: Mapping[str, Sequence[Record]]
    ) -> Record:
        request = Request(asset=asset, partition=candidate.label, stage=stage, config=config, inputs=inputs)
        quiet = replace(self.execution, on_metrics=None)
        outcome = execute(self.store, request, quiet)
        record = outcome.record
        logger.info("%s: %s", record.id, "found" if outcome.reused else "made")
        if not outcome.reused:
            self.made.append(record.id.path)
        self.records[record.id.path] = record
        return record


DATA = ("training_set", "tokens")


def records_of(store: Store, inputs: Inputs) -> dict[str, list[Record]]:
    """The records of the inputs in the store; a directory that is no artefact of it is adopted, a copy of it."""
    return {name: [_record(store, name, path) for path in many(inputs, name)] for name in sorted(inputs)}


def _record(store: Store, name: str, path: Path) -> Record:
    file = path / RECORD_NAME
    if file.exists():
        record = Record.from_json(file.read_bytes(), str(file))
        if store.find(record.id) is not None:
            return record
    return adopt(store, name, path)
