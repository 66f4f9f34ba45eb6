"""What the family report is about."""

from dataclasses import dataclass

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """The report of one family. What it shows comes from the records and scores it is given."""

    recipe: str
    checkpoints: tuple[str, ...]
    """Assets of the family in the order of the table, the teacher first; each has an input `evaluation_<asset>`."""

    def __post_init__(self) -> None:
        if not self.checkpoints:
            raise InputError("checkpoints: the family has no member")
