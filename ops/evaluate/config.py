"""What a checkpoint is measured on."""

from dataclasses import dataclass

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Equal for all models that are to be compared."""

    max_validation_tokens: int | None = 1_000_000
    """Validation tokens that are read (null: all of them)."""

    max_seq_len: int = 512
    """Tokens of a row of validation text, and the longest context with continuation of a task."""

    batch_tokens: int = 8192
    """Tokens of a forward pass, padding counted; at least one row is taken."""

    tasks: tuple[str, ...] = ()
    """Names of the tasks to be scored; none: all that there are."""

    task_limit: int | None = None
    """At most so many documents of a task, drawn by `seed` (null: all)."""

    seed: int = 0
    """Draws the documents of limited tasks and the resamples of intervals."""

    max_sources: int = 16
    """Sources with a line of their own in the validation scores, the largest first."""

    speed_prompt_tokens: int = 256
    """Length of the prompt whose processing is timed."""

    speed_decode_tokens: int = 32
    """Tokens whose cached decoding is timed, behind such a prompt."""

    def __post_init__(self) -> None:
        least = {"max_seq_len": 2, "max_sources": 0, "seed": 0, "batch_tokens": 1}
        least |= {"max_validation_tokens": 1, "task_limit": 1, "speed_prompt_tokens": 1, "speed_decode_tokens": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise InputError(f"EvaluateConfig.{name}: must be at least {low}, got {value}")
