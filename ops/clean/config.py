"""What the result of cleaning depends on."""

from dataclasses import dataclass, field

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RuleCleaner:
    """The rule-based cleaner: no model, deterministic, fast."""

    longest_boilerplate: int = 160
    """A line longer than this, in characters, is prose whatever it says."""

    most_repeats: int = 4
    """A line of at least three words that comes more often than this is kept once."""

    least_chars: int = 100
    """Shorter documents are dropped as `too_short` (Gopher, arXiv 2112.11446 A.1, asks for 50 words)."""

    least_alphabetic: float = 0.4
    """A document without formulas and with a smaller share of letters among its visible characters outside code is
    dropped as `no_alphabet`."""

    most_duplicate: float = 0.5
    """A document with a larger share of its characters in repeated paragraphs is dropped as `repetition`
    (Gopher, table A1, uses 0.3 for paragraphs by number and 0.2 by characters; code and tables repeat more)."""

    def __post_init__(self) -> None:
        for name in ("longest_boilerplate", "most_repeats", "least_chars"):
            if getattr(self, name) < 1:
                raise InputError(f"RuleCleaner.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("least_alphabetic", "most_duplicate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"RuleCleaner.{name} must be between 0 and 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """Which cleaner, and which one stands in where its output breaks the contract."""

    cleaner: RuleCleaner = field(default_factory=RuleCleaner)
    """The cleaner. Other cleaners join this field's type as a union of their config classes."""

    fallback: RuleCleaner = field(default_factory=RuleCleaner)
    """Cleans the documents whose output of `cleaner` was rejected."""
