"""Train and score each teacher with the stages that train and score all others."""

from pathlib import Path

import ops.importance.run
import ops.train.run
from ops.evidence.config import TeachersConfig
from ops.importance.config import ImportanceConfig
from ops.stage import Check, Execution, Inputs, StageResult
from ops.train.config import AdamWConfig, TrainConfig, WSDConfig
from ops.train.metrics import SPEED

VALIDATION_SEQUENCES = 128


def teacher_folder(out: Path, seed: int) -> Path:
    """Where the checkpoint of a teacher lies."""
    return out / f"teacher-{seed}"


def importance_folder(out: Path, seed: int) -> Path:
    """Where its scores lie."""
    return out / f"importance-{seed}"


def run(config: TeachersConfig, inputs: Inputs, out: Path, execution: Execution) -> StageResult:
    """Write `teacher-SEED/` and `importance-SEED/` for each seed.

    Raises:
        InputError: when the inputs do not fit the network.
    """
    tokens, flops, losses = 0, 0.0, {}
    data = {name: inputs[name] for name in ("training_set", "tokens")}
    for seed in config.seeds:
        train = TrainConfig(
            model=config.model,
            optimizer=AdamWConfig(peak_lr=config.lr),
            schedule=WSDConfig(warmup_steps=min(100, config.tokens // config.batch_size // config.seq_len // 4)),
            batch_size=config.batch_size,
            seq_len=config.seq_len,
            total_tokens=config.tokens,
            seed=seed,
            log_every_steps=50,
            validate_every_steps=1_000_000,
            validation_sequences=VALIDATION_SEQUENCES,
            sample_prompts=(),
        )
        folder = teacher_folder(out, seed)
        folder.mkdir(exist_ok=True)
        trained = ops.train.run.run(train, inputs, folder, execution)
        scores = ImportanceConfig(
            num_samples=config.calibration_samples,
            seq_len=config.seq_len,
            batch_size=config.batch_size,
            depth_num_samples=min(32, config.calibration_samples),
            phase=1,
        )
        place = importance_folder(out, seed)
        place.mkdir(exist_ok=True)
        scored = ops.importance.run.run(scores, {"teacher": [folder], **data}, place, execution)
        tokens += trained.tokens + scored.tokens
        flops += trained.flops + scored.flops
        losses[str(seed)] = {
            "before": trained.summary["validation_before"]["loss"],
            "after": trained.summary["validation_after"]["loss"],
        }
    learned = all(row["after"] < row["before"] for row in losses.values())
    return StageResult(
        counts={"teachers": len(losses), "tokens": tokens, "parameters": config.model.num_params()},
        checks=(Check(name="learned", passed=learned, description="every teacher is better than its initial weights"),),
        tokens=tokens,
        flops=flops,
        volatile=tuple(f"{teacher_folder(Path(), seed)}/{SPEED}" for seed in config.seeds),
        summary={"validation": losses},
    )
