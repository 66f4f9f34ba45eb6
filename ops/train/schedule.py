"""The learning rate and the data phase of a step, as pure functions of the step."""

import math
from collections.abc import Callable

from ops.train.config import AdamWConfig, TrainConfig, WSDConfig

_DECAYS: dict[str, Callable[[float], float]] = {
    "minus_sqrt": lambda progress: 1.0 - math.sqrt(progress),
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1.0 - progress,
}


def decay_start(schedule: WSDConfig, num_steps: int) -> int:
    """The first step of the decay (`num_steps` if there is none); never inside the warm-up."""
    return max(schedule.warmup_steps, num_steps - round(num_steps * schedule.decay_fraction))


def learning_rate(optimizer: AdamWConfig, schedule: WSDConfig, *, step: int, num_steps: int) -> float:
    """The learning rate of update `step` in [0, num_steps).

    Warm-up: peak * (step + 1) / warmup_steps. Decay: min + (peak - min) * shape(progress) with progress from
    above 0 to 1, so that the last update has exactly the minimum. minus_sqrt is 1 - sqrt(progress), as in
    Megatron-LM's optimizer_param_scheduler.
    """
    if step < schedule.warmup_steps:
        return optimizer.peak_lr * (step + 1) / schedule.warmup_steps
    start = decay_start(schedule, num_steps)
    if step < start:
        return optimizer.peak_lr
    minimum = optimizer.peak_lr * schedule.min_lr_ratio
    progress = (step + 1 - start) / (num_steps - start)
    return minimum + (optimizer.peak_lr - minimum) * _DECAYS[schedule.decay_shape](progress)


def phase2_start(config: TrainConfig) -> int:
    """The first step that reads the second data phase (`num_steps` if none does)."""
    if config.phase2_fraction is None:
        return decay_start(config.schedule, config.num_steps)
    return config.num_steps - round(config.num_steps * config.phase2_fraction)
