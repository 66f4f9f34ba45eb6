"""What the labels depend on."""

from dataclasses import dataclass

from ops.annotate.prompt import POINTS
from ops.clean.config import LanguageModel
from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class AnnotateConfig:
    """Which documents a model is asked about, and how."""

    model: LanguageModel

    prompt: str = POINTS
    """The system's turn; the excerpt is the user's. The answer is to end with `Score: <0 to 5>`."""

    max_chars: int = 4000
    """Of a document's text, around its middle: about a thousand tokens, twice what a classifier of 512 tokens reads."""

    max_documents: int = 20_000
    """Documents asked about, those of the lowest hashes."""

    seed: int = 0
    """Keys the hashes."""

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise InputError("AnnotateConfig.prompt: is empty")
        if self.max_chars < 100:
            raise InputError(f"AnnotateConfig.max_chars must be at least 100, got {self.max_chars}")
        if self.max_documents < 1:
            raise InputError(f"AnnotateConfig.max_documents must be at least 1, got {self.max_documents}")
