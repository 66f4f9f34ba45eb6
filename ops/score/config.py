"""Config of `ops.score`."""

from dataclasses import dataclass
from typing import Literal

from ops.errors import InputError

UNDETERMINED = "und"
"""ISO 639 code of a text whose language cannot be told: formulas alone, a few words, or a verdict without certainty."""


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A sequence classifier with one output that others trained, in place of the rules. Where its weights lie is
    `Execution.source` (a folder; none: the local Hugging Face cache), which files they are is observed."""

    name: str = "HuggingFaceTB/finemath-classifier"
    revision: str = "main"
    max_tokens: int = 512
    batch_size: int = 32
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        for name in ("name", "revision"):
            if not getattr(self, name):
                raise InputError(f"Classifier.{name} must be given")
        for name in ("max_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"Classifier.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Which languages and which scores stay.

    Raises:
        InputError: naming the field.
    """

    languages: tuple[str, ...] = ("en", UNDETERMINED)
    """Languages that stay, by fastText's code. `und` keeps pages that hold too little prose to tell."""

    min_language_score: float = 0.5
    """A verdict with a smaller probability counts as `und` (OpenWebMath keeps English from 0.5)."""

    min_letters: int = 40
    """Fewer letters outside formulas and code than this count as `und`."""

    min_int_score: int = 0
    """Documents with a smaller rounded quality score are dropped; 0 keeps all."""

    max_scored_chars: int = 20_000
    """Longer texts are scored by the excerpt of this length around their middle (FineMath's crop)."""

    classifier: Classifier | None = None
    """None: the rules of `ops.score.quality`, or the input `quality_model`."""

    def __post_init__(self) -> None:
        if not self.languages or not all(self.languages):
            raise InputError(f"languages: needs at least one language code, got {self.languages!r}")
        if not 0 <= self.min_language_score <= 1:
            raise InputError(f"min_language_score: {self.min_language_score} is not within 0..1")
        if self.min_letters < 1:
            raise InputError(f"min_letters: {self.min_letters} is not positive")
        if not 0 <= self.min_int_score <= 5:
            raise InputError(f"min_int_score: {self.min_int_score} is not within 0..5")
        if self.max_scored_chars < 1000:
            raise InputError(f"max_scored_chars: {self.max_scored_chars} is less than 1000")
