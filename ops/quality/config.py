"""Config of `ops.quality`."""

from dataclasses import dataclass, field

from ops.errors import InputError

HIGHEST_SCORE = 5


@dataclass(frozen=True, kw_only=True)
class FileLabels:
    """Labels in a file at `execution.source`, JSON lines or Parquet: `score` from 0 to 5 and one of `text`, `doc_id`
    and `url`. Labels of a `doc_id` or `url` are for documents of the input `cleaned`."""


@dataclass(frozen=True, kw_only=True)
class AnnotatedLabels:
    """Labels that a language model gave documents of the input `cleaned`: the input `labels`, from `ops.annotate`."""


@dataclass(frozen=True, kw_only=True)
class SourceScore:
    """The score of all documents of the sources (URL hosts) that match a pattern of the shell."""

    pattern: str
    score: float

    def __post_init__(self) -> None:
        if not 0 <= self.score <= HIGHEST_SCORE:
            raise InputError(f"labels: the score of {self.pattern!r}, {self.score}, is not within 0..{HIGHEST_SCORE}")


@dataclass(frozen=True, kw_only=True)
class ProvenanceLabels:
    """Documents are labelled by where they come from; the first pattern that matches counts, others have no label."""

    sources: tuple[SourceScore, ...]

    def __post_init__(self) -> None:
        if len({entry.score for entry in self.sources}) < 2:
            raise InputError("labels: sources of at least two different scores are needed to tell them apart")


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """How the classifier is trained.

    Attributes:
        labels: where scores come from.
        num_features: hashed features, a power of two.
        max_chars: of a document's text, around its middle (FineMath's crop).
        max_documents: labelled documents taken, those of the lowest hashes.
        held_out_fraction: share of them that is not trained on, by a hash of the document.
        l2: ridge penalty, on features of unit length.
        seed: keys the hashes.
    """

    labels: FileLabels | AnnotatedLabels | ProvenanceLabels = field(default_factory=FileLabels)
    num_features: int = 1 << 18
    max_chars: int = 20_000
    max_documents: int = 20_000
    held_out_fraction: float = 0.1
    l2: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_features < 2 or self.num_features & (self.num_features - 1):
            raise InputError(f"num_features: {self.num_features} is not a power of two")
        if self.max_chars < 1000:
            raise InputError(f"max_chars: {self.max_chars} is less than 1000")
        if self.max_documents < 10:
            raise InputError(f"max_documents: {self.max_documents} is less than 10")
        if not 0 < self.held_out_fraction < 1:
            raise InputError(f"held_out_fraction: {self.held_out_fraction} is not between 0 and 1")
        if not self.l2 > 0:
            raise InputError(f"l2: {self.l2} is not positive")
