"""Config of `ops.training_set`."""

from dataclasses import dataclass

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SourceWeight:
    """How often an epoch of training reads documents of the sources (URL hosts) that match a pattern.

    Attributes:
        pattern: of the shell, such as `*.wikipedia.org`; the first of a mixture that matches a source counts.
        weight: 1 reads every document once an epoch, 2 twice, 0.5 every other one, another half in another epoch; 0
            leaves them out.
    """

    pattern: str
    weight: float

    def __post_init__(self) -> None:
        if not self.pattern:
            raise InputError("mixture: a pattern is empty")
        if not 0 <= self.weight <= 1000:
            raise InputError(f"mixture: the weight of {self.pattern!r}, {self.weight}, is not between 0 and 1000")


@dataclass(frozen=True, kw_only=True)
class TrainingSetConfig:
    """How documents are divided.

    Attributes:
        validation_fraction: expected share of clusters held out.
        phase1_min_int_score: lowest `math_int_score` (0 to 5) of documents of data phase 1.
        phase2_min_int_score: the same for phase 2, the annealing phase. Nemotron-CC-Math: 3+, then 4+.
        min_validation_documents_per_source: a source that is large enough gets at least so many validation documents.
        large_source_documents: a source (URL host) with at least so many documents is large enough.
        seed: keys the split.
        mixture: weights of sources in training; a source that no pattern matches has the weight 1.
    """

    validation_fraction: float = 0.03
    phase1_min_int_score: int = 3
    phase2_min_int_score: int = 4
    min_validation_documents_per_source: int = 1
    large_source_documents: int = 20
    seed: int = 0
    mixture: tuple[SourceWeight, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise InputError(f"validation_fraction: {self.validation_fraction} is not between 0 and 1")
        for name in ("phase1_min_int_score", "phase2_min_int_score"):
            if not 0 <= getattr(self, name) <= 5:
                raise InputError(f"{name}: {getattr(self, name)} is not in 0..5")
        if self.min_validation_documents_per_source < 0:
            raise InputError("min_validation_documents_per_source: must not be negative")
        if self.large_source_documents <= self.min_validation_documents_per_source:
            raise InputError(
                f"large_source_documents: {self.large_source_documents} must be more than "
                f"min_validation_documents_per_source ({self.min_validation_documents_per_source})"
            )
