"""Config of `ops.score`."""

from dataclasses import dataclass

from ops.errors import InputError

UNDETERMINED = "und"
"""ISO 639 code of a text whose language cannot be told: formulas alone, a few words, or a verdict without certainty."""


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
