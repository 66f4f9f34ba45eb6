"""What the exported corpus looks like."""

from dataclasses import dataclass

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ExportCorpusConfig:
    """Name, configurations and size of files.

    Raises:
        InputError: naming the field.
    """

    name: str = "stillhouse-math"
    """Title of the dataset card."""

    least_scores: tuple[int, ...] = (3, 4)
    """A configuration `Nplus` for each N: documents whose rounded score is at least N. FineMath's and
    Nemotron-CC-Math's are 3+ and 4+. `all` holds every document."""

    file_bytes: int = 512 * 1024 * 1024
    """A file is closed when so many bytes of rows went into it, before compression."""

    def __post_init__(self) -> None:
        if not self.name.strip() or "\n" in self.name:
            raise InputError(f"ExportCorpusConfig.name: must be one line of text, got {self.name!r}")
        if list(self.least_scores) != sorted(set(self.least_scores)) or not all(0 <= s <= 5 for s in self.least_scores):
            raise InputError(f"ExportCorpusConfig.least_scores: {self.least_scores} do not ascend within 0..5")
        if self.file_bytes < 1:
            raise InputError(f"ExportCorpusConfig.file_bytes: {self.file_bytes} is not positive")
