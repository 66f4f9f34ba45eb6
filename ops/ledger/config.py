"""Config of `ops.ledger`."""

from dataclasses import dataclass

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LedgerConfig:
    """
    Raises:
        InputError: naming the field.
    """

    min_valid_share: float = 0.97
    """Below it the check `formulas_valid` warns. Of the formulas that pages carry as TeX some are broken by their
    authors."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_valid_share <= 1:
            raise InputError(f"min_valid_share: {self.min_valid_share} is not between 0 and 1")
